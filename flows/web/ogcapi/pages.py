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


async def fetch_page(conn: asyncpg.Connection, sql: str, most: int) -> tuple[list[asyncpg.Record], bool]:
    """Fetch a page of rows, and whether there are more.

    Parameters
    ----------
    sql
        Query for one row more than ``most``.
    most
        Rows of the page; fewer where they would exceed the size of a page, but at least one.
    """
    if most <= BATCH:
        found = await conn.fetch(sql)
        return found[:most], len(found) > most
    rows: list[asyncpg.Record] = []
    held = 0
    async with conn.transaction(readonly=True):
        async for row in conn.cursor(sql, prefetch=BATCH):
            held += weigh(row)
            if len(rows) == most or (rows and held > MAX_PAGE_BYTES):
                return rows, True
            rows.append(row)
    return rows, False


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
