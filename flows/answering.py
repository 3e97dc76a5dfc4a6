"""Answer all instructions that look at the same pixels of one scene. No database, no prefect."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from segwatch.db.ledger import LeasedObservation
from segwatch.flows.segmenters import Segmenter
from segwatch.geo import grid as grids
from segwatch.geo.observe import inside, observe
from segwatch.geo.rendering import render
from segwatch.geo.sources.pixels import SceneWindow, read
from segwatch.geo.stitch import Stitcher
from segwatch.geo.tiling import Tile, tiles
from segwatch.geo.types import ObservationResult, Profile, Scene

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SceneUnusable:
    """The scene shows too little of the area to be observed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """Observations of one scene with the same area and profile."""

    observations: tuple[LeasedObservation, ...]
    hosts: frozenset[str]
    """Hosts pixels may be read from."""

    @property
    def profile(self) -> Profile:
        """The one profile of the group."""
        return self.observations[0].watch.profile

    @property
    def grid(self) -> grids.PixelGrid:
        """The pixel grid of the group's area, the same for every scene."""
        return grids.for_area(self.observations[0].watch.area, self.profile.gsd_m)


def read_group(scene: Scene, group: Group) -> tuple[SceneWindow, datetime]:
    """The area's pixels and when they were there."""
    window = read(scene, group.profile, group.grid, allowed_hosts=sorted(group.hosts))
    return window, datetime.now(UTC)


def answer_group(
    group: Group, window: SceneWindow, segmenter: Segmenter, batch: int
) -> Iterator[tuple[LeasedObservation, ObservationResult | SceneUnusable]]:
    """Segment once for all observations that see enough, then post-process for each."""
    grid = group.grid
    area = group.observations[0].watch.area
    within = inside(area, grid)
    seen = window.valid & window.clear & within
    imaged = _share(window.valid & within, within)
    clear_share = _share(seen, within)
    usable = []
    for observation in group.observations:
        reason = _why_unusable(imaged, clear_share, observation.watch.max_cloud_cover)
        if reason is None:
            usable.append(observation)
        else:
            yield observation, SceneUnusable(reason)
    if not usable:
        return
    rgb = render(window.bands, window.valid, group.profile)
    started = time.perf_counter()
    instructions = [observation.watch.instruction.text for observation in usable]
    stitchers, texts = _segment(rgb, instructions, segmenter, batch)
    seconds = (time.perf_counter() - started) / len(usable)
    for observation, stitcher, text in zip(usable, stitchers, texts, strict=True):
        stitched = stitcher.result()
        watch = observation.watch
        footprint, detections = observe(
            stitched, seen, area, grid, label=watch.instruction.label, min_polygon_m2=watch.min_polygon_m2
        )
        yield (
            observation,
            ObservationResult(
                footprint=footprint,
                detections=tuple(detections),
                answer=text,
                tiles=stitched.tiles,
                tiles_failed=stitched.tiles_failed,
                clear_share=clear_share,
                bytes_read=window.bytes_read,
                compute_seconds=seconds,
            ),
        )


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return float(part.sum() / max(1, int(whole.sum())))


def _why_unusable(imaged: float, clear: float, max_cloud_cover: float) -> str | None:
    """Why a scene of which this share of the area is imaged and clear is not observed."""
    if imaged == 0:
        return "not imaged: no valid pixel of this scene lies in the area"
    least = 1 - max_cloud_cover
    if clear == 0 or clear < least:
        return f"cloudy: {clear:.0%} of the area is clear ({imaged:.0%} imaged), at least {least:.0%} is asked for"
    return None


def _segment(
    rgb: NDArray[np.uint8], instructions: Sequence[str], segmenter: Segmenter, batch: int
) -> tuple[list[Stitcher], list[str]]:
    """All tiles through the segmenter; a tile that fails is unknown, not empty."""
    height, width = rgb.shape[:2]
    side = segmenter.tile_px
    overlap = side // 4
    plan = tiles(height, width, side, overlap)
    stitchers = [Stitcher(height, width, side, overlap) for _ in instructions]
    texts = [""] * len(instructions)
    for start in range(0, len(plan), batch):
        some = plan[start : start + batch]
        try:
            answers = segmenter.segment([_cut(rgb, tile) for tile in some], instructions)
        except RuntimeError as error:  # torch's own errors, out of memory among them
            _log.warning("%d tile(s) failed: %s", len(some), error)
            for stitcher in stitchers:
                for tile in some:
                    stitcher.fail(tile)
            continue
        for tile, per_instruction in zip(some, answers, strict=True):
            for index, answer in enumerate(per_instruction):
                stitchers[index].add(tile, answer.mask_logits)
                texts[index] = texts[index] or answer.text
    return stitchers, texts


def _cut(rgb: NDArray[np.uint8], tile: Tile) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rgb[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width])
