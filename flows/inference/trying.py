"""Segment one image or scene at once: no database, no tracking."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from segwatch.db.ledger import LeasedObservation
from segwatch.flows.config.local_watch import derive_targets
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import ConfigError, FlowError
from segwatch.flows.inference.quicklooks import Preview
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.inference.shadow import is_spectral
from segwatch.flows.inference.strips import StripReader
from segwatch.flows.inference.tiled import (
    ObservationGroup,
    Outcome,
    compute_overlap,
    count_tiles,
    predict_group,
    split_grid,
)
from segwatch.geo.local_addresses import make_catalog_url
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials
from segwatch.geo.sources.local.bands import BandMeaning
from segwatch.geo.sources.local.inspection import FileFacts
from segwatch.geo.sources.local.single import open_single
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.segmentation import SegmentationRequest, TilePixels, TilePrediction
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Instruction, Watch

#: Larger images are work for a watch, which can be interrupted and goes on where it was.
MAX_TILES = 2000
#: Pixels of the smallest polygon.
_MIN_POLYGON_PX = 9


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """What the user said; None or empty = it is inferred."""

    targets: tuple[str, ...] = ()
    bands: BandMeaning | None = None
    gsd_m: float | None = None
    report: Callable[[int, int], None] = lambda done, total: None
    """Receives the tiles done and the tiles in total."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a segmenter found in one image."""

    result: ObservationResult
    picture: NDArray[np.uint8]
    """(h, w, 3): the image with the outlines of what was found."""
    facts: FileFacts
    targets: tuple[str, ...]
    gsd_m: float
    model: str
    converted: str
    """Why the image had to be converted; empty = it was read as it is."""


class _Counting:
    """A segmenter that reports each batch of tiles that is done."""

    def __init__(self, segmenter: Segmenter, total: int, report: Callable[[int, int], None]) -> None:
        self._segmenter, self._report = segmenter, report
        self._done, self._total = 0, total
        self.version, self.tile_px = segmenter.version, segmenter.tile_px

    def segment(
        self, tiles: Sequence[TilePixels], requests: Sequence[SegmentationRequest]
    ) -> list[list[TilePrediction]]:
        """See :class:`Segmenter`."""
        found = self._segmenter.segment(tiles, requests)
        self._done += len(tiles)
        self._report(min(self._done, self._total), self._total)
        return found


def try_image(
    path: Path,
    instruction: str,
    settings: FlowSettings,
    load: Callable[[FlowSettings], Segmenter],
    options: TrialOptions,
) -> Trial:
    """Segment one image.

    Parameters
    ----------
    load
        Loads the segmenter, after the image was looked at: a bad image costs no loading of weights.

    Raises
    ------
    segwatch.geo.errors.UnusableFile
        The image cannot be used.
    ConfigError
        It is too large.
    FlowError
        The image shows nothing, or the segmenter failed.
    """
    with tempfile.TemporaryDirectory(prefix="segwatch-try-") as folder:
        image = open_single(path, Path(folder), bands=options.bands, gsd_m=options.gsd_m)
        targets = options.targets or derive_targets(instruction)
        watch = Watch(
            name="try",
            instruction=Instruction(instruction, targets),
            area=image.facts.footprint,
            profile=image.profile,
            catalog=make_catalog_url("image"),
            start=datetime(1900, 1, 1, tzinfo=UTC),
            min_polygon_m2=_MIN_POLYGON_PX * image.profile.gsd_m**2,
            evidence=False,
        )
        segmenter = load(settings)
        group = make_group(watch, frozenset(image.grants), segmenter)
        total = count_tiles(watch, segmenter.tile_px)
        if total > MAX_TILES:
            raise ConfigError(
                f"{path} has {total} tiles of {segmenter.tile_px} pixels at {image.profile.gsd_m:g} m, more than "
                f"{MAX_TILES}; give a coarser --gsd or a part of it (gdal_translate -srcwin), or let a watch do it, "
                f"which can be interrupted: segwatch source add {path} --watch '{instruction}'"
            )
        outcome, preview = segment_once(image.scene, group, segmenter, settings, total, options.report)
        if not isinstance(outcome, ObservationResult):
            raise FlowError(f"{path}: {outcome.reason}")
        return Trial(
            outcome, preview.draw(outcome), image.facts, targets, image.profile.gsd_m, segmenter.version,
            image.converted,
        )  # fmt: skip


def make_group(
    watch: Watch, hosts: frozenset[str], segmenter: Segmenter, credentials: Credentials = NO_CREDENTIALS
) -> ObservationGroup:
    """Make the group of one observation that no ledger knows.

    Parameters
    ----------
    watch
        The watch that it stands for, which need not be stored.
    hosts
        Hosts that pixels may be read from.
    """
    return ObservationGroup(
        (LeasedObservation(uuid4(), watch, 1),),
        hosts,
        segmenter.tile_px,
        credentials,
        spectral=is_spectral(segmenter),
    )


def segment_once(
    scene: Scene,
    group: ObservationGroup,
    segmenter: Segmenter,
    settings: FlowSettings,
    total: int,
    report: Callable[[int, int], None],
) -> tuple[Outcome, Preview]:
    """Segment a scene for the one observation of a group; returns its outcome and a picture of the scene.

    Parameters
    ----------
    total
        Tiles of the group, for ``report``.
    report
        Receives the tiles done and the tiles in total.
    """
    side, preview = group.tile_px, Preview(group.view)
    counting = segmenter if is_spectral(segmenter) else _Counting(segmenter, total, report)
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        spans = split_grid(group.view.grid, side)
        with StripReader(reader, scene, group.view, spans, side - compute_overlap(side)) as reading:
            [(_, outcome)] = predict_group(group, reading, counting, settings.tile_batch, preview)
    return outcome, preview


def summarize(result: ObservationResult, targets: Sequence[str]) -> list[dict[str, Any]]:
    """Summarize what was found of each target: polygons, area, and presence where the model tells it."""
    presence = {one.target: one.presence for one in result.presence}
    found = result.detections
    names = dict.fromkeys([*targets, *(one.target for one in found), *presence])
    return [
        {
            "target": name,
            "polygons": sum(one.target == name for one in found),
            "area_m2": sum(one.area_m2 for one in found if one.target == name),
            "presence": presence.get(name),
        }
        for name in names
    ]
