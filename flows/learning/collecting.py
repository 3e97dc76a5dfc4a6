"""Collect the labelled tiles of a watch: what people judged, on imagery that is read again from its source.

Only what somebody judged is labelled. Inside an accepted object the target is present; inside a rejected one and around
every judged object it is absent. Labelled points of an assessment label a few pixels, areas of confirmed absence all
pixels. Everything else, and what is not clear, stays unknown. Tiles do not overlap and lie on a lattice of the ground.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Engine

from segwatch.db import examples, watches
from segwatch.db.errors import NotFound, describe_error
from segwatch.db.examples import JudgedObject, LabelledPoint
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import ConfigError
from segwatch.flows.learning.rescan import load_scene
from segwatch.geo import grid as grids
from segwatch.geo import tiling
from segwatch.geo.crs import to_crs
from segwatch.geo.errors import GeoError
from segwatch.geo.footprint import AreaMask
from segwatch.geo.mirroring import fill_by_mirroring
from segwatch.geo.rendering import render
from segwatch.geo.sources.rasters.pixels import SceneReader, open_scene
from segwatch.geo.tiling import Tile
from segwatch.geo.types.assessment import PRESENT
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)
Labels = NDArray[np.int8]
SaveTile = Callable[[Path, NDArray[np.uint8], Labels], None]
_PRESENT, _ABSENT, _UNKNOWN = np.int8(1), np.int8(0), np.int8(-1)
#: Width of the ground around a judged object that counts as absent, pixels.
_RING_PX = 8
#: Distance from a labelled point within which its label holds, pixels.
_POINT_PX = 1
#: Sides of the squares of ground that are split, in tiles, and how many of them a side must leave.
_PLACE_SIDES, _ENOUGH_PLACES = (4, 2), 10
MAX_TILES = 200


@dataclass(frozen=True, slots=True)
class AbsentArea:
    """Ground on the newest clear scene where a person saw none of a target."""

    target: str | None
    """None = none of any target."""
    geometry: BaseGeometry
    """EPSG:4326."""


@dataclass(slots=True)
class _SceneExamples:
    """What was judged on one scene."""

    objects: list[JudgedObject] = field(default_factory=list)
    points: list[LabelledPoint] = field(default_factory=list)
    absent: list[AbsentArea] = field(default_factory=list)
    unjudged: list[tuple[str, BaseGeometry]] = field(default_factory=list)
    """Target and geometry of detections that nobody judged."""

    def list_geometries(self) -> list[BaseGeometry]:
        """List everything that labels ground."""
        drawn = [one.drawn for one in self.objects if one.drawn is not None]
        return [
            *(one.outline for one in self.objects),
            *drawn,
            *(one.point for one in self.points),
            *(one.geometry for one in self.absent),
        ]


@dataclass(frozen=True, slots=True)
class Collected:
    """Tiles of a watch in its folder."""

    places: dict[str, str]
    """Name of each tile -> place, a square of ground."""
    objects: int
    points: int
    read: int
    """Tiles whose imagery was read now; the others were there already."""
    left_out: int
    """Tiles beyond the limit."""
    failures: tuple[str, ...]
    """Why tiles are missing, one reason for each scene."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One tile of one scene."""

    scene_id: UUID
    tile: Tile
    ground: tuple[int, int]
    """Row and column of the tile on the lattice of the ground."""


def collect_tiles(
    engine: Engine,
    settings: FlowSettings,
    watch: str,
    folder: Path,
    *,
    tile_px: int,
    save: SaveTile,
    absent: Sequence[AbsentArea] = (),
    max_tiles: int = MAX_TILES,
    say: Callable[[str], None] = _log.info,
) -> Collected:
    """Label the tiles of a watch that hold judged ground, and read their imagery; what is there is not read again.

    Parameters
    ----------
    tile_px
        Side of a tile: that of the model.
    save
        Writes a tile: file, (S, S, 3) RGB, (targets, S, S) labels.
    max_tiles
        Most tiles; of more, those that come first in the order of a hash are used.

    Raises
    ------
    NotFound
        There is no such watch, or it has no observed scene.
    ConfigError
        The instruction names no targets, or nothing was judged.
    """
    with engine.connect() as conn:
        stored = watches.load_current(conn, watch).watch
        scenes = _load_examples(conn, watch, absent)
    targets = stored.instruction.targets
    if not targets:
        raise ConfigError(f"the instruction of {watch} names no targets, so reviews cannot be told apart")
    if not scenes:
        raise ConfigError(
            f"nothing of {watch} was judged yet; review objects (segwatch review), label an assessment (segwatch "
            "assess start), or give areas of confirmed absence"
        )
    area_grid = grids.make_grid(stored.area, stored.profile.gsd_m)
    grid = tiling.extend_to_tiles(area_grid, tile_px, 0)
    every = [
        one
        for scene_id, found in sorted(scenes.items())
        for one in _list_tiles(scene_id, found, grid, tile_px)
    ]
    every.sort(key=lambda one: hashlib.sha256(f"{one.scene_id} {one.ground}".encode()).digest())
    chosen, failures, read = every[:max_tiles], list[str](), 0
    names: dict[str, tuple[int, int]] = {}
    for scene_id in sorted({one.scene_id for one in chosen}):
        mine = [one for one in chosen if one.scene_id == scene_id]
        labelled = [(one, _label(scenes[scene_id], targets, stored, grid, one.tile)) for one in mine]
        files = {_name(one, labels): (one, labels) for one, labels in labelled}
        missing = {name: pair for name, pair in files.items() if not (folder / f"{name}.npz").exists()}
        try:
            read += _read_tiles(engine, settings, stored, scene_id, grid, missing, folder, save)
        except (GeoError, NotFound) as error:
            failures.append(f"scene {scene_id}: {describe_error(error)}")
        names |= {name: one.ground for name, (one, _) in files.items() if (folder / f"{name}.npz").exists()}
        say(f"{len(names)} of {len(chosen)} tiles are there")
    counts = [(len(one.objects), len(one.points)) for one in scenes.values()]
    return Collected(
        _group_by_places(names),
        sum(objects for objects, _ in counts),
        sum(points for _, points in counts),
        read,
        len(every) - len(chosen),
        tuple(failures),
    )


def _load_examples(conn: Connection, watch: str, absent: Sequence[AbsentArea]) -> dict[UUID, _SceneExamples]:
    scenes: dict[UUID, _SceneExamples] = {}
    observations: dict[UUID, UUID] = {}
    for one in examples.list_reviewed(conn, watch):
        if one.scene_id is not None and one.observation_id is not None:
            scenes.setdefault(one.scene_id, _SceneExamples()).objects.append(one)
            observations[one.observation_id] = one.scene_id
    for point in examples.list_points(conn, watch):
        scenes.setdefault(point.scene_id, _SceneExamples()).points.append(point)
    if absent:
        clear = examples.find_clear_observation(conn, watch)
        scenes.setdefault(clear.scene_id, _SceneExamples()).absent.extend(absent)
    for observation_id, scene_id in observations.items():
        found = scenes[scene_id]
        for target, geometry in examples.list_detections(conn, observation_id):
            judged = [one.outline for one in found.objects if one.target == target]
            if not any(shapely.intersects(geometry, one) for one in judged):
                found.unjudged.append((target, geometry))
    return scenes


def _list_tiles(scene_id: UUID, found: _SceneExamples, grid: GeoBox, tile_px: int) -> Iterator[_Wanted]:
    """List the tiles of a grid that hold judged ground."""
    origin = grids.get_origin(grid)
    tiles = tiling.make_tiles(grid.height, grid.width, tile_px, 0)
    judged = AreaMask(shapely.union_all(found.list_geometries()), grid)
    for tile in judged.select(tiles, grid):
        ground = ((origin.row + tile.row) // tile_px, (origin.col + tile.col) // tile_px)
        yield _Wanted(scene_id, tile, ground)


def _label(found: _SceneExamples, targets: Sequence[str], watch: Watch, grid: GeoBox, tile: Tile) -> Labels:
    """Label the pixels of a tile: (targets, S, S). Stronger evidence is written over weaker."""
    window = _cut(grid, tile)
    in_area = AreaMask(watch.area, grid).rasterize(window)
    labels = np.full((len(targets), tile.height, tile.width), _UNKNOWN)

    def burn(geometry: BaseGeometry) -> NDArray[np.bool_]:
        return AreaMask(geometry, grid).rasterize(window)

    for index, target in enumerate(targets):
        layer = labels[index]
        for area in found.absent:
            if area.target in {None, target}:
                layer[burn(area.geometry)] = _ABSENT
        objects = [one for one in found.objects if one.target == target]
        for one in objects:
            inside = burn(shapely.union_all([one.outline, *([one.drawn] if one.drawn is not None else [])]))
            layer[ndimage.binary_dilation(inside, iterations=_RING_PX)] = _ABSENT
        for name, geometry in found.unjudged:
            if name == target:
                layer[burn(geometry)] = _UNKNOWN
        for one in objects:
            layer[burn(one.outline)] = _ABSENT
        for one in objects:
            if one.verdict != "rejected":
                layer[burn(one.outline if one.drawn is None else one.drawn)] = _PRESENT
        for point in found.points:
            if point.target == target:
                _label_point(layer, point, window)
        layer[~in_area] = _UNKNOWN
    return labels


def _label_point(layer: Labels, point: LabelledPoint, window: GeoBox) -> None:
    """Label the pixels beside a point."""
    ((x, y),) = shapely.get_coordinates(to_crs(point.point, grids.get_crs(window)))
    col, row = (int(np.floor(value)) for value in ~window.transform * (x, y))
    if not (0 <= row < window.height and 0 <= col < window.width):
        return
    part = (
        slice(max(0, row - _POINT_PX), row + _POINT_PX + 1),
        slice(max(0, col - _POINT_PX), col + _POINT_PX + 1),
    )
    layer[part] = _PRESENT if point.label in PRESENT else _ABSENT


def _cut(grid: GeoBox, tile: Tile) -> GeoBox:
    return grid[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]


def _name(wanted: _Wanted, labels: Labels) -> str:
    """Name a tile by its scene, place and labels: other labels make another file."""
    digest = hashlib.sha256(f"{wanted.scene_id} {wanted.ground}".encode() + labels.tobytes()).hexdigest()
    return f"{wanted.ground[0]}_{wanted.ground[1]}_{digest[:16]}"


def _read_tiles(
    engine: Engine,
    settings: FlowSettings,
    watch: Watch,
    scene_id: UUID,
    grid: GeoBox,
    missing: dict[str, tuple[_Wanted, Labels]],
    folder: Path,
    save: SaveTile,
) -> int:
    """Read and write the missing tiles of a scene; returns how many."""
    if not missing:
        return 0
    with engine.connect() as conn:
        shown = load_scene(conn, settings, watch.name, scene_id)
    with open_scene(
        shown.scene, shown.profile, grid, allowed_hosts=shown.hosts, credentials=shown.credentials
    ) as reader:
        for name, (wanted, labels) in missing.items():
            rgb, clear = _read_tile(reader, watch, _cut(grid, wanted.tile))
            save(folder / f"{name}.npz", rgb, np.where(clear, labels, _UNKNOWN))
    return len(missing)


def _read_tile(
    reader: SceneReader, watch: Watch, window: GeoBox
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read (S, S, 3) RGB as the model sees it, and (S, S) where it is clear."""
    pixels = reader.read(window)
    rgb = render(pixels.bands, pixels.valid, watch.profile).values
    return fill_by_mirroring(rgb, pixels.valid.values), pixels.clear.values & pixels.valid.values


def _group_by_places(names: dict[str, tuple[int, int]]) -> dict[str, str]:
    """Group tiles into square places, as large as leaves enough of them."""
    for side in (*_PLACE_SIDES, 1):
        places = {name: f"{row // side}_{col // side}" for name, (row, col) in names.items()}
        if len(set(places.values())) >= _ENOUGH_PLACES:
            return places
    return places
