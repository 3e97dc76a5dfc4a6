"""Predict a scene of the ledger again, on a part of the area of bounded size; nothing is published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection

from segwatch.db import analyst, examples, watches
from segwatch.db.errors import NotFound
from segwatch.db.examples import ClearObservation
from segwatch.db.ledger import LeasedObservation
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import FlowError
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.inference.shadow import is_spectral
from segwatch.flows.inference.strips import StripReader
from segwatch.flows.inference.tiled import ObservationGroup, compute_overlap, predict_group, split_grid
from segwatch.flows.web.pixels.shown import ShownScene, shown_scene
from segwatch.geo import grid as grids
from segwatch.geo.antimeridian import split_at_antimeridian
from segwatch.geo.area import extract_polygons
from segwatch.geo.crs import to_crs, to_lonlat
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Watch

#: Default limit of tiles that are predicted again.
MAX_TILES = 36


def load_scene(conn: Connection, settings: FlowSettings, watch: str, scene_id: UUID) -> ShownScene:
    """Load a scene of a watch with what its pixels are read by.

    Raises
    ------
    NotFound
        The watch has no such scene.
    """
    rows = analyst.list_readable_items(conn, watch, str(scene_id))
    if not rows:
        raise NotFound(f"watch {watch} has no scene {scene_id}")
    shown = shown_scene(rows, settings.imagery_hosts)
    return replace(shown, credentials=settings.credentials_for(shown.profile.name))


def load_newest_clear(
    conn: Connection, settings: FlowSettings, watch: str
) -> tuple[Watch, ClearObservation, ShownScene]:
    """Load a watch, its newest clear observation, and the scene of that.

    Raises
    ------
    NotFound
        There is no such watch, or it has no observed scene.
    """
    stored = watches.load_current(conn, watch).watch
    clear = examples.find_clear_observation(conn, watch)
    return stored, clear, load_scene(conn, settings, watch, clear.scene_id)


def limit_area(
    watch: Watch, footprint: BaseGeometry, tile_px: int, max_tiles: int = MAX_TILES
) -> BaseGeometry:
    """Cut a square out of the observed part of an AOI that at most so many tiles reach (EPSG:4326).

    The square lies in the middle of the largest observed part; an AOI that is small enough stays whole.
    """
    gsd_m = watch.profile.gsd_m
    step_px = tile_px - compute_overlap(tile_px)
    # a square of n steps may reach n + 2 tiles of the lattice in each direction
    side_m = max(1, math.isqrt(max_tiles) - 2) * step_px * gsd_m
    crs = grids.get_crs(grids.make_grid(watch.area, gsd_m))
    local = to_crs(watch.area.intersection(footprint), crs)
    west, south, east, north = local.bounds
    if east - west <= side_m and north - south <= side_m:
        return watch.area
    middle = max(extract_polygons(local), key=lambda one: one.area).representative_point()
    square = box(middle.x - side_m / 2, middle.y - side_m / 2, middle.x + side_m / 2, middle.y + side_m / 2)
    return split_at_antimeridian(to_lonlat(square, crs)).intersection(watch.area)


def predict_again(
    shown: ShownScene, asked: Sequence[Watch], segmenter: Segmenter, batch: int
) -> list[ObservationResult | str]:
    """Predict watches with one area and profile on a scene, pixels read and encoded once.

    Returns
    -------
    list[ObservationResult | str]
        One for each watch in order; the reason where there is no result.

    Raises
    ------
    segwatch.geo.errors.GeoError
        Pixels could not be read.
    """
    members = tuple(LeasedObservation(uuid4(), one, 1) for one in asked)
    side = segmenter.tile_px
    group = ObservationGroup(
        members, frozenset(shown.hosts), side, shown.credentials, spectral=is_spectral(segmenter)
    )
    view = group.view
    rows = side - compute_overlap(side)
    found: dict[UUID, ObservationResult | str] = {}
    with (
        ThreadPoolExecutor(1, thread_name_prefix="read") as pool,
        StripReader(pool, shown.scene, view, split_grid(view.grid, side), rows) as reading,
    ):
        for member, outcome in predict_group(group, reading, segmenter, batch):
            found[member.id] = outcome if isinstance(outcome, ObservationResult) else outcome.reason
    return [found[one.id] for one in members]


def require_result(outcome: ObservationResult | str, what: str) -> ObservationResult:
    """Return a result.

    Raises
    ------
    FlowError
        There is none; the message says why.
    """
    if isinstance(outcome, str):
        raise FlowError(f"{what}: {outcome}")
    return outcome
