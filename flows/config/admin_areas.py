"""Read administrative areas from a file that GDAL reads: GeoPackage, Shapefile, FlatGeobuf, GeoJSON and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import shapely
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

from segwatch.db.admin_areas import AdminArea
from segwatch.flows.errors import ConfigError
from segwatch.geo.antimeridian import is_in_degrees, split_at_antimeridian
from segwatch.geo.area import extract_polygons
from segwatch.geo.bounded import operations
from segwatch.geo.errors import TooComplex
from segwatch.geo.text.storable import to_storable

#: As many as the municipalities of the largest countries.
MAX_AREAS = 20_000
MAX_BYTES = 512 * 2**20
MAX_VERTICES = 5_000_000
_MAX_NAME = 200


def read_admin_areas(path: Path, name_column: str, layer: str | None = None) -> tuple[AdminArea, ...]:
    """Read the areas of a file in EPSG:4326; features of one name become one area.

    Parameters
    ----------
    name_column
        Column with the names.
    layer
        Layer of the file; None = its only one.

    Raises
    ------
    ConfigError
        The file cannot be read or is too large, has no such column or layer, no CRS, or something else than polygons
        with names.
    """
    rows = _read(path, name_column, layer)
    parts: dict[str, list[BaseGeometry]] = {}
    vertices = 0
    for number, (value, geometry) in enumerate(rows, start=1):
        where = f"{path}, feature {number}"
        name = _check_name(value, name_column, where)
        shape = _repair(geometry, f"{where} ({name})")
        vertices += sum(
            len(one.exterior.coords) + sum(len(hole.coords) for hole in one.interiors) for one in shape
        )
        if vertices > MAX_VERTICES:
            raise ConfigError(f"{path}: more than {MAX_VERTICES:,} vertices; simplify it first")
        parts.setdefault(name, []).extend(shape)
    if not parts:
        raise ConfigError(f"{path} has no features")
    return tuple(AdminArea(name, _unite(some, f"{path}, {name}")) for name, some in sorted(parts.items()))


def _read(path: Path, name_column: str, layer: str | None) -> Iterator[tuple[Any, BaseGeometry | None]]:
    try:
        import pyogrio
    except ImportError as error:
        raise ConfigError(
            "reading polygons needs pyogrio; install it with: pip install 'segwatch[analysis]'"
        ) from error
    if not path.exists():
        raise ConfigError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 2**20} MiB; simplify it first")
    try:
        info = pyogrio.read_info(path, layer=layer)
        _check_info(info, path, name_column)
        frame = pyogrio.read_dataframe(path, layer=layer, columns=[name_column])
    except (
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
        pyogrio.errors.GeometryError,
        # a ring that is not closed, or has two points
        shapely.errors.ShapelyError,
    ) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if frame.crs is None:
        raise ConfigError(
            f"{path} does not say its coordinate system; set it first, for example with ogr2ogr -a_srs"
        )
    frame = frame.to_crs(4326)
    return zip(frame[name_column], frame.geometry, strict=True)


def _check_info(info: Mapping[str, Any], path: Path, name_column: str) -> None:
    if name_column not in info["fields"]:
        known = ", ".join(info["fields"]) or "none"
        raise ConfigError(f"--name-column: {path} has no column {name_column!r}; its columns: {known}")
    if info["geometry_type"] is None:
        raise ConfigError(f"{path} has no geometries")
    if info["features"] > MAX_AREAS:
        raise ConfigError(f"{path} has {info['features']:,} features; at most {MAX_AREAS:,} are summed by")


def _check_name(value: Any, name_column: str, where: str) -> str:
    # missing numbers are NaN, which differs from itself
    if value is None or value != value or not str(value).strip():  # noqa: PLR0124
        raise ConfigError(
            f"{where}: the column {name_column!r} is empty; every administrative area needs a name"
        )
    name = str(value).strip()
    if len(name) > _MAX_NAME or to_storable(name) != name:
        raise ConfigError(
            f"{where}: {name[:40]!r}... cannot be a name; use at most {_MAX_NAME} printable characters"
        )
    return name


def _repair(geometry: BaseGeometry | None, where: str) -> list[Any]:
    if geometry is None or geometry.is_empty:
        raise ConfigError(f"{where}: no geometry")
    if geometry.geom_type not in {"Polygon", "MultiPolygon"}:
        raise ConfigError(f"{where}: a {geometry.geom_type}; give polygons")
    try:
        operations.check(geometry, max_vertices=MAX_VERTICES)
        shape = split_at_antimeridian(operations.make_valid(geometry))
    except TooComplex as error:
        raise ConfigError(f"{where}: {error}; simplify it") from error
    if not is_in_degrees(shape):
        raise ConfigError(f"{where}: not longitude and latitude in degrees once it is in EPSG:4326")
    return extract_polygons(shape)


def _unite(parts: list[Any], where: str) -> BaseGeometry:
    try:
        whole = operations.union_all(parts)
    except TooComplex as error:
        raise ConfigError(f"{where}: {error}; simplify it") from error
    polygons = extract_polygons(whole)
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
