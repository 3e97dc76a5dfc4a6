"""The antimeridian in OGC API: extents of collections, and boxes and geometries of requests.

tipg measures and filters in the plane, so geometries that cross the antimeridian are handled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
from fastapi import HTTPException
from shapely.geometry import mapping
from tipg.collections import Collection, Column, PgCollection
from tipg.model import Extent

from segwatch.db.analyst.statements import build_shifted_extent
from segwatch.flows.web.guards.access import current_sight
from segwatch.flows.web.tiles import MAX_LATITUDE
from segwatch.geo.antimeridian import (
    Bounds,
    choose_narrower_bounds,
    split_at_antimeridian,
    to_box,
    union_bounds,
)
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.geojson import MALFORMED, read_geometry
from segwatch.geo.errors import TooComplex

#: Vertices of one geometry; a filter is part of a URL.
_MAX_VERTICES = 5_000
_WORLD = (-180.0, -90.0, 180.0, 90.0)


class MeasuredCollection(PgCollection):
    """A collection whose extent may cross the antimeridian, written as in RFC 7946."""

    @property
    def extent(self) -> Extent | None:
        """Extent of all geometry columns together, then of each."""
        if current_sight().watches is not None:
            return None  # the extent would reveal where other watches are
        found: Extent | None = super().extent
        if found is not None and found.spatial is not None and len(self.geometry_columns) > 1:
            found.spatial.bbox[0] = list(
                union_bounds(_get_bounds(column) for column in self.geometry_columns)
            )
        return found

    @property
    def bounds(self) -> list[float] | None:
        """Bounds for tiles, which are numbered from west to east: all longitudes if the antimeridian is crossed."""
        if current_sight().watches is not None:
            return [-180.0, -MAX_LATITUDE, 180.0, MAX_LATITUDE]
        found: list[float] | None = super().bounds
        if found is None or found[0] <= found[2]:
            return found
        return [-180.0, found[1], 180.0, found[3]]


def _get_bounds(column: Column) -> Bounds:
    west, south, east, north = column.bounds or _WORLD
    return west, south, east, north


async def measure_extents(
    conn: asyncpg.Connection, collections: Iterable[Collection]
) -> list[MeasuredCollection]:
    """Measure the narrowest bounds of each collection; reads every row of collections wider than 180 degrees."""
    found = []
    for one in collections:
        copy = MeasuredCollection.model_construct(
            _fields_set=one.model_fields_set, **{name: getattr(one, name) for name in type(one).model_fields}
        )
        for column in copy.geometry_columns:
            column.bounds = list(await _measure(conn, one, column))
        found.append(copy)
    return found


async def _measure(conn: asyncpg.Connection, collection: Collection, column: Column) -> Bounds:
    west, south, east, north = _get_bounds(column)  # pole to pole if the view is empty
    plain = (west, max(south, -MAX_LATITUDE), east, min(north, MAX_LATITUDE))
    if column.bounds is None or east - west <= 180:
        return plain
    schema, _, table = collection.id.partition(".")
    row = await conn.fetchrow(build_shifted_extent(schema, table, column.name))
    return (
        plain
        if row is None or row["west"] is None
        else choose_narrower_bounds(plain, (row["west"], row["east"]))
    )


def _to_polygon(bbox: Sequence[float]) -> dict[str, Any]:
    """Convert a box to GeoJSON, split at the antimeridian if its west is east of its east.

    The database would not know the reference system of the envelope that cql2 makes of a box.
    """
    west, south, east, north = bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1]
    return dict(mapping(to_box((west, south, east, north))))


def split_geometries(tree: Any) -> Any:
    """Split the boxes and geometries in a CQL2 JSON condition that cross the antimeridian."""
    if isinstance(tree, list):
        return [split_geometries(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if "bbox" in tree:
        try:
            return _to_polygon(tree["bbox"])
        except MALFORMED:
            return tree  # the database reports what is wrong with it
    if "coordinates" in tree:
        return _split_geojson(tree)
    return {name: split_geometries(value) for name, value in tree.items()}


def _split_geojson(given: dict[str, Any]) -> dict[str, Any]:
    try:
        geometry = read_geometry(given, max_vertices=_MAX_VERTICES)
        operations.check(geometry)
        parts = split_at_antimeridian(geometry)
    except TooComplex as error:
        raise HTTPException(400, f"filter: {error}") from error
    except MALFORMED as error:
        # the database would report it only where rows are near, and find nothing elsewhere
        raise HTTPException(
            400, "filter: a geometry is malformed; has each ring three points or more?"
        ) from error
    return dict(mapping(parts))  # with closed rings
