"""Longitudes near 180 degrees in OGC API: extents of collections, boxes and shapes that requests name.

tipg measures and filters in the plane; what crosses the antimeridian is put right here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
from fastapi import HTTPException
from psycopg import sql
from shapely.geometry import mapping
from tipg.collections import Collection, Column, PgCollection
from tipg.model import Extent

from segwatch.flows.web.guards.access import sight
from segwatch.flows.web.tiles import HIGHEST_LATITUDE
from segwatch.geo.antimeridian import Bounds, box_of, narrower, split, union_bounds
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.geojson import MALFORMED, read_geometry
from segwatch.geo.errors import TooComplex

#: Of one shape; a filter is a part of an address.
_MAX_VERTICES = 5_000
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_SHIFTED = sql.SQL(
    "SELECT ST_XMin(around) AS west, ST_XMax(around) AS east"
    " FROM (SELECT ST_Extent(ST_ShiftLongitude({column})) AS around FROM {schema}.{table}) AS shifted"
)


class MeasuredCollection(PgCollection):
    """A collection whose extent may cross the antimeridian, as RFC 7946 writes it."""

    @property
    def extent(self) -> Extent | None:
        """Of all geometry columns, and of each."""
        if sight().watches is not None:
            return None  # it would tell where watches are that this reader may not see
        found: Extent | None = super().extent
        if found is not None and found.spatial is not None and len(self.geometry_columns) > 1:
            found.spatial.bbox[0] = list(union_bounds(_four(column) for column in self.geometry_columns))
        return found

    @property
    def bounds(self) -> list[float] | None:
        """For tiles, which number columns from west to east: all of them where the antimeridian is crossed."""
        if sight().watches is not None:
            return [-180.0, -HIGHEST_LATITUDE, 180.0, HIGHEST_LATITUDE]
        found: list[float] | None = super().bounds
        if found is None or found[0] <= found[2]:
            return found
        return [-180.0, found[1], 180.0, found[3]]


def _four(column: Column) -> Bounds:
    west, south, east, north = column.bounds or _WORLD
    return west, south, east, north


async def measured(conn: asyncpg.Connection, collections: Iterable[Collection]) -> list[MeasuredCollection]:
    """Collections with the narrowest bounds of their geometries; it looks at every row of those that seem wide."""
    found = []
    for one in collections:
        copy = MeasuredCollection.model_construct(
            _fields_set=one.model_fields_set, **{name: getattr(one, name) for name in type(one).model_fields}
        )
        for column in copy.geometry_columns:
            column.bounds = list(await _bounds(conn, one, column))
        found.append(copy)
    return found


async def _bounds(conn: asyncpg.Connection, collection: Collection, column: Column) -> Bounds:
    west, south, east, north = _four(column)  # an empty view's: pole to pole
    plain = (west, max(south, -HIGHEST_LATITUDE), east, min(north, HIGHEST_LATITUDE))
    if column.bounds is None or east - west <= 180:
        return plain
    schema, _, table = collection.id.partition(".")
    names = {"column": column.name, "schema": schema, "table": table}
    query = _SHIFTED.format(**{name: sql.Identifier(value) for name, value in names.items()})
    row = await conn.fetchrow(query.as_string())
    return plain if row is None or row["west"] is None else narrower(plain, (row["west"], row["east"]))


def crossing(bbox: Sequence[float]) -> dict[str, Any] | None:
    """The ground of a box whose west is east of its east, as GeoJSON; None for other boxes."""
    west, south, east, north = bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1]
    return dict(mapping(box_of((west, south, east, north)))) if west > east else None


def split_shapes(tree: Any) -> Any:
    """A condition in CQL2 JSON with the boxes and shapes split that cross the antimeridian."""
    if isinstance(tree, list):
        return [split_shapes(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if "bbox" in tree:
        ground = crossing(tree["bbox"])
        return tree if ground is None else ground
    if "coordinates" in tree:
        return _split_geojson(tree)
    return {name: split_shapes(value) for name, value in tree.items()}


def _split_geojson(given: dict[str, Any]) -> dict[str, Any]:
    try:
        shape = read_geometry(given, max_vertices=_MAX_VERTICES)
        operations.check(shape)
        ground = split(shape)
    except TooComplex as error:
        raise HTTPException(400, f"filter: {error}") from error
    except MALFORMED:
        return given  # the database says what is wrong with it
    return given if ground is shape else dict(mapping(ground))
