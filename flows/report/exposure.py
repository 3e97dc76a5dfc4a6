"""People, buildings and roads on affected, unaffected and unseen ground; pixels and features are read in parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import rasterize
from rasterio.windows import Window, from_bounds
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import iterate_parts
from segwatch.geo.area import extract_polygons
from segwatch.geo.crs import LONLAT, get_transformer

if TYPE_CHECKING:
    import geopandas as gpd

#: Features read of one file; more are refused, because a part of them would pass for all.
MAX_FEATURES = 500_000
#: Pixels of the population raster below an area.
MAX_PIXELS = 50_000_000
#: Each pixel's share of a polygon is measured on so many by so many parts of it.
_PARTS = 10
#: Rows of pixels read at a time, so that a block's parts stay below some 50 MB.
_BLOCK_PARTS = 50_000_000


class ExposureRefused(Exception):
    """A layer cannot be counted; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The three kinds of ground of an area; polygonal, EPSG:4326, without overlap."""

    affected: BaseGeometry
    unaffected: BaseGeometry
    unseen: BaseGeometry


@dataclass(frozen=True, slots=True)
class Count:
    """How much of something is on each kind of ground."""

    what: str
    """people, buildings or roads (km)."""
    affected: float
    unaffected: float
    unseen: float
    source: str
    """Name of the file."""

    @property
    def all(self) -> float:
        """What there is in the area."""
        return self.affected + self.unaffected + self.unseen


@dataclass(frozen=True, slots=True)
class Layers:
    """Files to count with; None = not counted."""

    population: Path | None = None
    buildings: Path | None = None
    roads: Path | None = None


NO_LAYERS = Layers()


def count_people(ground: Ground, path: Path) -> Count:
    """Sum up a raster of people per pixel; a pixel counts by its share of each kind of ground.

    Raises
    ------
    ExposureRefused
        The file cannot be read, has no CRS, or is finer than :data:`MAX_PIXELS` allow.
    """
    parts = (ground.affected, ground.unaffected, ground.unseen)
    try:
        with rasterio.open(path) as raster:
            if raster.crs is None:
                raise ExposureRefused(
                    f"{path.name} has no coordinate reference system; assign one with gdal_edit.py"
                )
            crs = CRS.from_user_input(raster.crs)
            own = [_project(one, crs) for one in parts]
            sums = _sum_pixels(raster, own, path.name)
    except rasterio.errors.RasterioError as error:
        raise ExposureRefused(f"{path.name} cannot be read as a raster: {_shorten(error)}") from error
    return Count("people", *sums, path.name)


def _sum_pixels(raster: Any, parts: list[BaseGeometry], name: str) -> tuple[float, float, float]:
    every = [one for one in parts if not one.is_empty]
    if not every:
        return 0.0, 0.0, 0.0
    whole = Window(0, 0, raster.width, raster.height)
    wanted = from_bounds(*shapely.total_bounds(np.array(every, dtype=object)), raster.transform)
    west, north = max(0, math.floor(wanted.col_off)), max(0, math.floor(wanted.row_off))
    east = min(whole.width, math.ceil(wanted.col_off + wanted.width))
    south = min(whole.height, math.ceil(wanted.row_off + wanted.height))
    if east <= west or south <= north:
        raise ExposureRefused(f"{name} does not reach the area of interest; give a raster that covers it")
    if (east - west) * (south - north) > MAX_PIXELS:
        raise ExposureRefused(
            f"{name} has more than {MAX_PIXELS:,} pixels in the area; give a coarser raster, such as 100 m"
        )
    rows = max(1, _BLOCK_PARTS // ((east - west) * _PARTS**2))
    sums = np.zeros(len(parts))
    for row in range(north, south, rows):
        window = Window(west, row, east - west, min(rows, south - row))
        people = raster.read(1, window=window, masked=True).astype(np.float64).filled(0.0)
        people[~np.isfinite(people) | (people < 0)] = 0.0
        transform = raster.window_transform(window)
        for number, part in enumerate(parts):
            sums[number] += float((people * _measure_shares(part, transform, people.shape)).sum())
    return float(sums[0]), float(sums[1]), float(sums[2])


def _measure_shares(part: BaseGeometry, transform: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Measure which share of each pixel lies in a geometry, on a grid that is ten times finer."""
    polygons = extract_polygons(part)
    height, width = shape
    if not polygons:
        return np.zeros(shape)
    fine = transform * transform.scale(1 / _PARTS)
    inside = rasterize(polygons, out_shape=(height * _PARTS, width * _PARTS), transform=fine, dtype="uint8")
    shares: NDArray[np.float64] = inside.reshape(height, _PARTS, width, _PARTS).mean((1, 3))
    return shares


def count_buildings(ground: Ground, path: Path) -> Count:
    """Count buildings: affected where any part is, else by a point inside them.

    Raises
    ------
    ExposureRefused
        The file cannot be read, has no CRS, or has too many features in the area.
    """
    affected, unaffected, unseen = (
        _prepare(one) for one in (ground.affected, ground.unaffected, ground.unseen)
    )
    counts = [0, 0, 0]
    for shapes in _read_features(ground, path):
        points = shapely.point_on_surface(shapes)
        inside = [shapely.intersects(one, points) for one in (affected, unaffected, unseen)]
        ours = inside[0] | inside[1] | inside[2]
        hit = ours & shapely.intersects(affected, shapes)
        hidden = ours & ~hit & inside[2]
        counts = [
            counts[0] + int(hit.sum()), counts[1] + int((ours & ~hit & ~hidden).sum()), counts[2] + int(hidden.sum())
        ]  # fmt: skip
    return Count("buildings", float(counts[0]), float(counts[1]), float(counts[2]), path.name)


def measure_roads(ground: Ground, path: Path) -> Count:
    """Measure the kilometres of roads on each kind of ground; of polygons their outline is measured.

    Raises
    ------
    ExposureRefused
        The file cannot be read, has no CRS, or has too many features in the area.
    """
    from pyproj import Geod

    geod = Geod(ellps="WGS84")
    parts = [_prepare(one) for one in (ground.affected, ground.unaffected, ground.unseen)]
    metres = [0.0, 0.0, 0.0]
    for shapes in _read_features(ground, path):
        lines = np.where(shapely.get_dimensions(shapes) == 2, shapely.boundary(shapes), shapes)
        for number, part in enumerate(parts):
            met = lines[shapely.intersects(part, lines)]
            inside = shapely.intersection(met, part)
            metres[number] += sum(geod.geometry_length(one) for one in inside if not one.is_empty)
    return Count("roads", metres[0] / 1000, metres[1] / 1000, metres[2] / 1000, path.name)


def _read_features(ground: Ground, path: Path) -> Iterator[NDArray[Any]]:
    """Read the geometries around the area as arrays, EPSG:4326; one for each side of the antimeridian."""
    import geopandas as gpd

    area = shapely.union_all([ground.affected, ground.unaffected, ground.unseen])
    left = MAX_FEATURES
    sides: dict[bool, list[BaseGeometry]] = {}
    for part in iterate_parts(area):
        sides.setdefault(part.centroid.x < 0, []).append(part)
    _require_crs(path)
    for parts in sides.values():
        place = gpd.GeoSeries([shapely.box(*shapely.total_bounds(np.array(parts, dtype=object)))], crs=LONLAT)
        read = _read(path, bbox=place, rows=slice(0, left + 1))
        if len(read) > left:
            raise ExposureRefused(
                f"{path.name} has more than {MAX_FEATURES:,} features in the area; give a file of fewer features"
            )
        left -= len(read)
        yield _to_lonlat(read)


def _require_crs(path: Path) -> None:
    if _read(path, rows=slice(0, 1)).crs is None:
        raise ExposureRefused(
            f"{path.name} has no coordinate reference system; assign one with ogr2ogr -a_srs"
        )


def _read(path: Path, **given: Any) -> gpd.GeoDataFrame:
    import geopandas as gpd

    try:
        return gpd.GeoDataFrame(gpd.read_file(path, columns=[], **given))
    except Exception as error:  # drivers of GDAL have errors of their own
        raise ExposureRefused(f"{path.name} cannot be read as vectors: {_shorten(error)}") from error


def _to_lonlat(read: gpd.GeoDataFrame) -> NDArray[Any]:
    shapes = np.asarray(read.geometry.to_crs(LONLAT).values, dtype=object)
    shapes = shapes[[one is not None and not one.is_empty for one in shapes]]
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken])
    return shapes


def _prepare(geometry: BaseGeometry) -> BaseGeometry:
    shapely.prepare(geometry)
    return geometry


def _project(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """Project to the CRS of a raster; longitudes and latitudes need not be projected."""
    if crs == LONLAT or geometry.is_empty:
        return geometry
    transformer = get_transformer(LONLAT, crs)
    dense = shapely.segmentize(geometry, 0.05)
    moved: BaseGeometry = shapely.transform(
        dense, lambda coords: np.column_stack(transformer.transform(coords[:, 0], coords[:, 1]))
    )
    return moved if moved.is_valid else shapely.make_valid(moved)


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
