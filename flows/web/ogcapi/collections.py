"""The views of schema ``watch`` as collections: time of a feature, order of pages, content of tiles.

``datetime`` filters a collection by its valid time, when something was so on the ground. The parameter
``datetime-column`` chooses another column, such as when it was recorded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import reduce
from typing import Any
from uuid import UUID

import asyncpg
from cql2 import Expr
from morecantile import Tile, TileMatrixSet
from tipg.collections import Column, Feature, ItemList, _s_intersects_bbox
from tipg.errors import (
    InvalidDatetimeColumnName,
    InvalidGeometryColumnName,
    MissingDatetimeColumn,
    NoPrimaryKey,
    NotFound,
)

from segwatch.db.analyst import VIEW_KEYS, ViewKey
from segwatch.db.analyst.statements import build_vector_tile
from segwatch.flows.web.ogcapi.cql import make_any_of
from segwatch.flows.web.ogcapi.cursors import Cursor, SortKey, describe_order, make_condition
from segwatch.flows.web.ogcapi.extents import MeasuredCollection
from segwatch.flows.web.ogcapi.pages import fetch_page

#: Features per response and per tile.
MAX_FEATURES = 10_000
#: Features of a page if the client asks for no number.
DEFAULT_LIMIT = 10
_TILE_PIXELS = 512
#: Ids that features had before views had keys.
_FORMER = re.compile(r"([^/]*)~([0-9a-f]{32})")


@dataclass(slots=True)
class ResponseCounts:
    """Counts of matched and returned features, filled while a response is made."""

    matched: int | None = None
    returned: int = 0
    after: str | None = None
    """Cursor of the next page; None = this is the last one."""
    columns: tuple[str, ...] = ()


#: Counts of the current request.
response_counts: ContextVar[ResponseCounts | None] = ContextVar("counted", default=None)


def is_sortable(column: Column) -> bool:
    """Whether the values of a column have an order that pages can be sorted by."""
    return not (column.is_geometry or column.type.startswith("json") or column.type.endswith("[]"))


class ViewCollection(MeasuredCollection):
    """A view with a known key; for other views it behaves as tipg does."""

    @property
    def key(self) -> ViewKey | None:
        """Key and times of the view."""
        return VIEW_KEYS.get(self.table)

    @property
    def datetime_columns(self) -> list[Column]:
        """Columns of times, valid time first, because tipg takes the temporal extent from these."""
        every: list[Column] = super().datetime_columns
        wanted = () if self.key is None else self.key.compared or ()
        return sorted(every, key=lambda one: one.name not in wanted)

    def cql_where(
        self,
        ids: list[str] | None = None,
        datetime: list[str] | None = None,
        bbox: list[float] | None = None,
        properties: list[tuple[str, Any]] | None = None,
        cql: Expr | None = None,
        geom: str | None = None,
        dt: str | None = None,
        tile: Tile | None = None,
        tms: TileMatrixSet | None = None,
    ) -> Expr | None:
        """Make the condition as tipg does, but with ids of any type, valid times, and boxes across 180 degrees."""
        found = super().cql_where(properties=properties, cql=cql, geom=geom, tile=tile, tms=tms)
        parts = [] if found is None else [found]
        if ids:
            parts.append(self._filter_ids(ids))
        column = self.get_geometry_column(geom)
        if bbox is not None and column is not None:
            parts.append(_filter_box(column.name, bbox))
        if datetime:
            parts.append(Expr(self._filter_datetime(datetime, dt)))
        return reduce(lambda one, other: one + other, parts) if parts else None

    def _filter_ids(self, ids: Sequence[str]) -> Expr:
        if self.id_column is None:
            raise NoPrimaryKey(f"features of {self.id} have no id")
        if self.key is None or not (self.key.leading or self.key.former):
            return Expr(
                make_any_of({"property": self.id_column.name}, [self._check_uuid(one, one) for one in ids])
            )
        conditions = [self._match_id(one, self.key) for one in ids]
        return Expr(conditions[0] if len(conditions) == 1 else {"op": "or", "args": conditions})

    def _check_uuid(self, value: str, identity: str, column: str | None = None) -> str:
        """Return the value of an id's column, if it can be one: the key, or another column."""
        found = self.id_column if column is None else self.get_column(column)
        if found is not None and found.type == "uuid" and not _is_uuid(value):
            raise NotFound(f"{identity!r} is not an id of {self.id}")
        return value

    def _match_id(self, identity: str, key: ViewKey) -> dict[str, Any]:
        """Match an id by what an index finds, and by the rest of it."""
        former = _FORMER.fullmatch(identity) if key.former is not None else None
        if former is not None and key.former is not None:
            value, checksum = former.groups()
            row = [{"property": name} for name in key.former.checked]
            made = {"op": "md5", "args": [{"op": "concat_ws", "args": ["/", *row]}]}
            found = self._check_uuid(value, identity, key.former.column)
            return _both(_equal({"property": key.former.column}, found), _equal(made, checksum))
        whole = _equal({"property": key.column}, self._check_uuid(identity, identity))
        if not key.leading:
            return whole
        begin = self._check_uuid(identity.partition("/")[0], identity, key.leading)
        return _both(_equal({"property": key.leading}, begin), whole)

    def _filter_datetime(self, interval: Sequence[str], asked: str | None) -> dict[str, Any]:
        begin, end, still = self._choose_column(asked)
        first, last = interval
        conditions: list[dict[str, Any]] = []
        if last != "..":
            conditions.append({"op": "<=", "args": [{"property": begin}, {"timestamp": last}]})
        if first != ".." and end is not None:
            # a moment includes its own time; a span excludes its end, or has none yet
            reached = {"op": ">" if still else ">=", "args": [{"property": end}, {"timestamp": first}]}
            goes_on = {"op": "isNull", "args": [{"property": end}]}
            conditions.append({"op": "or", "args": [goes_on, reached]} if still else reached)
        if not conditions:
            conditions.append({"op": "not", "args": [{"op": "isNull", "args": [{"property": begin}]}]})
        return conditions[0] if len(conditions) == 1 else {"op": "and", "args": conditions}

    def _choose_column(self, asked: str | None) -> tuple[str, str | None, bool]:
        if not self.datetime_columns:
            raise MissingDatetimeColumn("the features of this collection have no time")
        if asked is None and self.key is not None and self.key.compared is not None:
            begin, end = self.key.compared
            return begin, end, begin != end
        column = self.get_datetime_column(asked)
        if column is None:
            raise InvalidDatetimeColumnName(f"there is no column of times named {asked}")
        return column.name, column.name, False

    def _sort_expressions(self, sortby: str | None) -> list[tuple[str, str]]:
        """Complete ``sortby`` to a total order with the columns that identify a row."""
        asked: list[tuple[str, str]] = super()._sort_expressions(sortby) if sortby else []
        order = self.key.sort_columns if self.key else self._list_sortable()
        return asked + [(one, f'"{one}"') for one in order if one not in {name for name, _ in asked}]

    def _list_sortable(self) -> tuple[str, ...]:
        """List the columns that have an order: all of them together identify a row of a view without a known key."""
        return tuple(one.name for one in self.properties if is_sortable(one))

    def list_sort_keys(self, sortby: str | None) -> list[SortKey]:
        """List the columns that pages are sorted by; together they identify a row."""
        certain = self.key.sort_columns if self.key else ()
        return [
            SortKey(name, expression.endswith(" DESC"), nullable=name not in certain)
            for name, expression in self._sort_expressions(sortby)
        ]

    async def features(
        self,
        conn: asyncpg.Connection,
        *,
        ids_filter: list[str] | None = None,
        bbox_filter: list[float] | None = None,
        datetime_filter: list[str] | None = None,
        properties_filter: list[tuple[str, str]] | None = None,
        cql_filter: Expr | None = None,
        geom: str | None = None,
        dt: str | None = None,
        sortby: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: Cursor | None = None,
        **shape: Any,
    ) -> ItemList:
        """Read a page of features, and note their number and where the next page begins.

        Parameters
        ----------
        after
            Where the page begins; None = with the first feature, or after ``offset`` features.
        shape
            Properties and form of geometries, as tipg names them.
        """
        if geom and geom.lower() != "none" and self.get_geometry_column(geom) is None:
            raise InvalidGeometryColumnName(f"there is no geometry column {geom}")
        where = self.cql_where(
            ids=ids_filter, datetime=datetime_filter, bbox=bbox_filter, properties=properties_filter, cql=cql_filter,
            geom=geom, dt=dt,
        )  # fmt: skip
        keys = self.list_sort_keys(sortby)
        if after is None:
            matched = await self._features_count_query(conn, where=where, function_parameters=None)
        else:
            matched, rest = after.matched, Expr(make_condition(keys, after))
            where = rest if where is None else where + rest
        most, skipped = limit or DEFAULT_LIMIT, offset or 0
        select = self._select(
            properties=shape.get("properties"), geometry_column=self.get_geometry_column(geom),
            bbox_only=shape.get("bbox_only"), simplify=shape.get("simplify"),
            geom_as_wkt=shape.get("geom_as_wkt", False),
        )  # fmt: skip
        place = ", ".join(f'CAST("{one.name}" AS text)' for one in keys)
        query = " ".join(
            (
                f"{select}, ARRAY[{place}] AS segwatch_place FROM {self._qualified_name}",
                self._where_clause(where),
                self._sortby(sortby),
                f"LIMIT {most + 1} OFFSET {skipped}",
            )
        )
        rows, more = await fetch_page(conn, query, most)
        features = [_make_feature(row) for row in rows]
        counts = response_counts.get()
        if counts is not None:
            counts.matched, counts.returned = matched, len(features)
            counts.columns = tuple(self.columns(shape.get("properties")))
            if more:
                counts.after = Cursor(
                    describe_order(keys), tuple(rows[-1]["segwatch_place"]), matched
                ).write()
        return ItemList(
            items=features, matched=matched, next=None, prev=max(skipped - most, 0) if skipped else None
        )

    async def get_tile(
        self,
        conn: asyncpg.Connection,
        *,
        tms: TileMatrixSet,
        tile: Tile,
        properties: list[str] | None = None,
        sortby: str | None = None,
        limit: int | None = None,
        simplify: float | None = None,
        ids_filter: list[str] | None = None,
        bbox_filter: list[float] | None = None,
        datetime_filter: list[str] | None = None,
        properties_filter: list[tuple[str, str]] | None = None,
        cql_filter: Expr | None = None,
        geom: str | None = None,
        dt: str | None = None,
        **_: Any,
    ) -> bytes:
        """Make a vector tile, largest features first; features too small for a polygon become points."""
        column = self.get_geometry_column(geom)
        if column is None:
            raise InvalidGeometryColumnName(f"there is no geometry column {geom}")
        where = self.cql_where(
            ids=ids_filter, datetime=datetime_filter, bbox=bbox_filter, properties=properties_filter,
            cql=cql_filter, geom=geom, dt=dt, tms=tms, tile=tile,
        )  # fmt: skip
        max_features = min(limit or MAX_FEATURES, MAX_FEATURES)
        size = f'CAST("{column.name}" AS box2d)'
        largest = f"(ST_XMax({size}) - ST_XMin({size})) * (ST_YMax({size}) - ST_YMin({size})) DESC"
        order = ", ".join(sql for _, sql in self._sort_expressions(sortby))
        query = " ".join(
            (
                self._select_simplified(properties, column, tms, tile, simplify),
                f"FROM {self._qualified_name}",
                self._where_clause(where),
                f"ORDER BY {order}" if sortby else f"ORDER BY {largest}, {order}",
                f"LIMIT {max_features}",
            )
        )
        counts = response_counts.get()
        made = await conn.fetchrow(build_vector_tile(query))
        if counts is not None:
            counts.returned = counts.matched = made["features"]
            if counts.returned == max_features:
                counts.matched = await self._features_count_query(conn, where=where, function_parameters=None)
        return bytes(made[0])

    def _select_simplified(
        self,
        properties: list[str] | None,
        column: Column,
        tms: TileMatrixSet,
        tile: Tile,
        simplify: float | None,
    ) -> str:
        """Select columns and geometry, simplified to half a pixel; a point where no polygon remains."""
        bounds = tms.bounds(tile)
        tolerance = simplify or min(bounds.right - bounds.left, bounds.top - bounds.bottom) / _TILE_PIXELS / 2
        stored = f'CAST("{column.name}" AS geometry)'
        written: str = self._select_mvt(properties, column, tms, tile)
        columns, _, placed = written.rpartition("ST_AsMVTGeom(")
        placed = "ST_AsMVTGeom(" + placed.removesuffix(" AS geom")
        outline = placed.replace(stored, f"ST_Simplify({stored}, {float(tolerance)}, true)")
        point = placed.replace(stored, f"ST_PointOnSurface({stored})")
        return f"{columns}coalesce({outline}, {point}) AS geom"


def _make_feature(row: asyncpg.Record) -> Feature:
    properties = dict(row)
    geometry, identity = properties.pop("tipg_geom"), properties.pop("tipg_id")
    del properties["segwatch_place"]
    return Feature(type="Feature", geometry=geometry, id=identity, properties=properties)


def _filter_box(name: str, bbox: Sequence[float]) -> Expr:
    west, south, east, north = bbox if len(bbox) == 4 else (bbox[0], bbox[1], bbox[3], bbox[4])
    if west <= east:
        return _s_intersects_bbox(name, west, south, east, north)
    across = (
        _s_intersects_bbox(name, west, south, 180, north),
        _s_intersects_bbox(name, -180, south, east, north),
    )
    return Expr({"op": "or", "args": [one.to_json() for one in across]})


def _equal(left: dict[str, Any], right: str) -> dict[str, Any]:
    return {"op": "=", "args": [left, right]}


def _both(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"op": "and", "args": list(conditions)}


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
