"""Pages of features that end at the requested limit or at the size limit of a response.

OGC API Features allows a server to return fewer features than the limit; the link to the next page leads to the rest.
"""

from __future__ import annotations

from typing import Any

import asyncpg

#: Approximate size of a page as text; making it takes several times as much memory.
MAX_PAGE_BYTES = 24 * 2**20
#: Rows that are fetched together.
BATCH = 50
_VERTEX_BYTES = 40
_VALUE_BYTES = 16


class Page:
    """A connection whose queries stop after a page's worth of rows, but return at least one row."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn = conn

    async def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """Fetch rows as asyncpg does, up to the size of a page."""
        rows: list[asyncpg.Record] = []
        held = 0
        async with self._conn.transaction(readonly=True):
            async for row in self._conn.cursor(sql, *values, prefetch=BATCH):
                held += weigh(row)
                if rows and held > MAX_PAGE_BYTES:
                    break
                rows.append(row)
        return rows


def weigh(row: asyncpg.Record) -> int:
    """Estimate the size of a row as text, in bytes."""
    return sum(_weigh_value(value) for value in row.values())


def _weigh_value(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict) and "coordinates" in value:
        return _count_vertices(value["coordinates"]) * _VERTEX_BYTES
    if isinstance(value, dict):
        return sum(len(name) + _weigh_value(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return sum(_weigh_value(one) for one in value)
    return _VALUE_BYTES


def _count_vertices(coordinates: Any) -> int:
    if not coordinates or not isinstance(coordinates[0], list):
        return 1
    if coordinates[0] and isinstance(coordinates[0][0], list):
        return sum(_count_vertices(one) for one in coordinates)
    return len(coordinates)
