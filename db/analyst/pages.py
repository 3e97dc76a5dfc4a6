"""Rows of the analyst views in pages, for readers that take many: one snapshot, and bounded memory at a time.

The rights of the analyst role are enough.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnClause,
    Connection,
    DateTime,
    Select,
    bindparam,
    cast,
    column,
    false,
    func,
    or_,
    select,
    table,
)

#: Comparisons that a condition may use.
OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "=": operator.eq,
        "<>": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on a column; rows must meet all conditions of a query."""

    column: str
    operator: str
    """One of :data:`OPERATORS`."""
    value: str | bool | datetime | UUID | None
    """None: the column is null for ``=``, and not null for ``<>``."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Moment whose objects are asked for, instead of those of now."""

    at: datetime
    """When the objects were there."""
    known_at: datetime | None = None
    """Use what was recorded up to then; None = everything recorded so far."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows of a view are asked for, and in what order."""

    view: str
    """Name of a view of the schema ``watch``; of ``objects_as_of``, which is a function, with a :attr:`moment`."""
    columns: tuple[str, ...]
    order: tuple[str, ...]
    """Columns to sort by, ``-`` before one for descending order; together they identify a row."""
    conditions: tuple[Condition, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] | None = None
    """West, south, east and north in degrees (EPSG:4326); rows whose geometry meets none are left out. None = all."""
    moment: Moment | None = None
    limit: int | None = None


def stream_pages(conn: Connection, query: Query, rows: int) -> Iterator[list[dict[str, Any]]]:
    """Read the rows of a query in pages of at most ``rows``, all from one snapshot.

    The server keeps the rest of the rows, so that memory follows the page. Geometries are hexadecimal EWKB.
    """
    wanted = conn.execution_options(stream_results=True, max_row_buffer=rows, yield_per=rows)
    with wanted.execute(_build(query)) as result:
        for page in result.mappings().partitions(rows):
            yield [dict(row) for row in page]


def _build(query: Query) -> Select[Any]:
    source = _make_source(query)
    statement = select(*(source.c[name] for name in query.columns))
    for one in query.conditions:
        statement = statement.where(OPERATORS[one.operator](source.c[one.column], one.value))
    if query.boxes is not None:
        meets = [
            func.ST_Intersects(source.c.geom, func.ST_MakeEnvelope(*around, 4326)) for around in query.boxes
        ]
        statement = statement.where(or_(false(), *meets))
    for name in query.order:
        ascending = not name.startswith("-")
        by = source.c[name.removeprefix("-")]
        statement = statement.order_by(by.asc() if ascending else by.desc().nullslast())
    return statement.limit(query.limit)


def _make_source(query: Query) -> Any:
    sorted_by = (one.removeprefix("-") for one in query.order)
    names = dict.fromkeys((*query.columns, *(one.column for one in query.conditions), *sorted_by, "geom"))
    columns: list[ColumnClause[Any]] = [column(name) for name in names]
    if query.moment is None:
        return table(query.view, *columns, schema="watch")
    moment = query.moment
    known_at = func.coalesce(
        cast(bindparam("known_at", moment.known_at), DateTime(timezone=True)), func.now()
    )
    valid_at = cast(bindparam("valid_at", moment.at), DateTime(timezone=True))
    return getattr(func.watch, query.view)(valid_at, known_at).table_valued(*columns)
