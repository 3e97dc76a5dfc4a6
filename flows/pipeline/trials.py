"""Run the trials that wait: each segments the latest clear scene of its area and keeps what was found with the trial.

Nothing of it gets into a series: no scene, observation, object, change or alert is recorded.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import trials
from segwatch.db.errors import describe_error
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import ConfigError, FlowError
from segwatch.flows.inference import segmenters
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.inference.tiled import count_tiles
from segwatch.flows.inference.trying import make_group, segment_once, summarize
from segwatch.flows.pipeline.recent_scenes import MIN_CLEAR, find_recent_scenes
from segwatch.flows.runtime import stopping
from segwatch.geo.area import compute_area_m2
from segwatch.geo.encoding import encode_jpeg
from segwatch.geo.sources.http import hrefs
from segwatch.geo.text.printable import sanitize
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.tracking import Detection, ObservationResult
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)

#: Largest area of a trial.
MAX_KM2 = 500.0
#: Tiles of a trial's scene; they take the tiny model a minute on two cores.
MAX_TILES = 500
_SEARCH_SECONDS = 60.0
#: Another worker takes up a trial that nothing was reported of for so long; loading a large model takes minutes.
_LEASE_SECONDS = 600.0
#: Scenes that a trial looks at before it gives up: the catalog's cloud cover is of whole scenes.
_MAX_SCENES = 3
#: What a result may hold; the largest polygons are kept.
_MAX_POLYGONS, _MAX_VERTICES = 2000, 200_000
_MAX_REASON = 500
_QUALITY = 85

Load = Callable[[FlowSettings], Segmenter]


class _Withdrawn(BaseException):
    """The trial was deleted or has expired while it was worked on; what catches failed tiles must not catch it."""


@dataclass(slots=True)
class TrialCounts:
    """What one run did."""

    done: int = 0
    failed: int = 0
    withdrawn: int = 0
    """Trials that were deleted meanwhile."""


@dataclass
class _Model:
    """The segmenter of a run, loaded when the first trial needs it."""

    settings: FlowSettings
    load: Load
    loaded: Segmenter | None = None

    def get(self) -> Segmenter:
        if self.loaded is None:
            self.loaded = self.load(self.settings)
        return self.loaded


@dataclass
class _Work:
    """The work on one trial, which reports where it is and keeps its lease."""

    engine: Engine
    worker: str
    id: UUID
    stage: str = ""
    tiles: tuple[int, int] | None = None

    def enter(self, stage: str) -> None:
        """Begin a stage."""
        self.stage, self.tiles = stage, None
        self._report()

    def count(self, done: int, total: int) -> None:
        """Report tiles."""
        self.tiles = done, total
        self._report()

    def _report(self) -> None:
        try:
            with self.engine.begin() as conn:
                held = trials.report(conn, self.id, self.worker, _LEASE_SECONDS, self.stage, self.tiles)
        except DBAPIError as error:
            _log.warning("the progress of a trial could not be reported: %s", describe_error(error))
            return
        if not held:
            raise _Withdrawn


def check_size(watch: Watch, tile_px: int | None) -> None:
    """Check that an area is small enough to be tried.

    Parameters
    ----------
    tile_px
        Side of the model's tiles in pixels; None = not known here.

    Raises
    ------
    ConfigError
        It is too large; the message says what to do.
    """
    km2 = compute_area_m2(watch.area) / 1e6
    if km2 > MAX_KM2:
        raise ConfigError(
            f"area: {km2:,.4g} km2 are more than a trial may have, {MAX_KM2:g} km2; draw a smaller one, and save the "
            "whole area as a watch once the instruction works"
        )
    tiles = None if tile_px is None else count_tiles(watch, tile_px)
    if tiles is not None and tiles > MAX_TILES:
        raise ConfigError(
            f"area: {km2:,.4g} km2 at {watch.profile.gsd_m:g} m are {tiles} tiles, more than a trial may have, "
            f"{MAX_TILES}; draw an area of {km2 * MAX_TILES / tiles:.2g} km2 or less"
        )


def run_trials(
    engine: Engine, settings: FlowSettings, worker: str, load: Load = segmenters.load_segmenter
) -> TrialCounts:
    """Run trials until none waits, or this process is asked to stop; without one, no model is loaded.

    Parameters
    ----------
    worker
        Name of this process, in leases.
    """
    counts, model = TrialCounts(), _Model(settings, load)

    def put_back() -> int:
        with engine.begin() as conn:
            return trials.put_back(conn, worker)

    with stopping.release_on_stop("trial(s)", put_back):
        while not stopping.stop_requested.is_set():
            with engine.begin() as conn:
                taken = trials.take(conn, worker, _LEASE_SECONDS)
            if taken is None:
                break
            _run(engine, settings, worker, taken, model, counts)
    return counts


def _run(
    engine: Engine,
    settings: FlowSettings,
    worker: str,
    taken: trials.Taken,
    model: _Model,
    counts: TrialCounts,
) -> None:
    work = _Work(engine, worker, taken.id)
    try:
        result, picture = _try(work, settings, taken, model)
    except _Withdrawn:
        counts.withdrawn += 1
        return
    except Exception as error:  # a catalog, file, checkpoint or module of an operator may raise anything
        _log.warning("trial %s failed: %s", taken.id, describe_error(error))
        reason = sanitize(describe_error(error))[:_MAX_REASON]
        with engine.begin() as conn:
            ended = trials.fail(conn, taken.id, worker, reason)
        counts.failed += ended
    else:
        with engine.begin() as conn:
            ended = trials.finish(conn, taken.id, worker, json.dumps(result), picture)
        counts.done += ended
    counts.withdrawn += not ended


def _try(
    work: _Work, settings: FlowSettings, taken: trials.Taken, model: _Model
) -> tuple[dict[str, Any], bytes]:
    watch = replace(taken.watch, max_cloud_cover=1 - MIN_CLEAR, evidence=False)
    check_size(watch, None)
    work.enter("searching the catalog")
    found = find_recent_scenes(watch, taken.until or datetime.now(UTC), _SEARCH_SECONDS)
    work.enter("loading the model")
    segmenter = model.get()
    check_size(watch, segmenter.tile_px)
    hosts = hrefs.list_readable_hosts(watch.profile, watch.catalog, settings.imagery_hosts)
    credentials = settings.credentials_for(watch.profile.name)
    group = make_group(watch, frozenset(hosts), segmenter, credentials)
    total = count_tiles(watch, segmenter.tile_px)
    begun = time.monotonic()
    reasons = []
    for scene in found[:_MAX_SCENES]:
        work.enter("reading and segmenting")
        outcome, preview = segment_once(scene, group, segmenter, settings, total, work.count)
        if isinstance(outcome, ObservationResult):
            cost = {"seconds": round(time.monotonic() - begun, 2)}
            shown = _describe(scene, outcome, watch, cost)
            shown |= {"model": segmenter.version, "demonstration": segmenters.is_demonstration(settings)}
            return shown, encode_jpeg(preview.draw(outcome), quality=_QUALITY)
        reasons.append(f"{scene.acquired_at:%Y-%m-%d}: {outcome.reason}")
    raise FlowError(
        f"none of the {len(reasons)} newest scene(s) could be used; choose another area, or an earlier date. "
        + "; ".join(reasons)
    )


def _describe(
    scene: Scene, result: ObservationResult, watch: Watch, cost: dict[str, float]
) -> dict[str, Any]:
    """Describe a result as JSON, the largest polygons first."""
    found = sorted(result.detections, key=lambda one: -one.area_m2)
    kept = _select(found)
    return {
        "scene": {
            "acquired_at": scene.acquired_at.isoformat(),
            "item_hrefs": [item.href for item in scene.items],
            "clear_share": round(result.clear_share, 4),
            "attribution": watch.profile.attribution or None,
        },
        "totals": summarize(result, watch.instruction.targets),
        "cost": cost
        | {
            "bytes_read": result.bytes_read,
            "km2": round(compute_area_m2(watch.area) / 1e6, 4),
            "tiles": result.tiles,
            "tiles_failed": result.tiles_failed,
        },
        "observed": mapping(result.footprint) if _fits(result.footprint) else None,
        "polygons": {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "properties": {
                        "target": one.target,
                        "score": round(one.score, 4),
                        "area_m2": round(one.area_m2, 2),
                    },
                    "geometry": mapping(one.geometry),
                }
                for one in kept
            ],
        },
        "polygons_of_all": len(found),
    }


def _fits(footprint: BaseGeometry) -> bool:
    return int(shapely.get_num_coordinates(footprint)) <= _MAX_VERTICES


def _select(found: Sequence[Detection]) -> Sequence[Detection]:
    """Select as many polygons as a result may hold."""
    vertices = accumulate(int(shapely.get_num_coordinates(one.geometry)) for one in found)
    count = sum(one <= _MAX_VERTICES for one in vertices)
    return found[: min(count, _MAX_POLYGONS)]
