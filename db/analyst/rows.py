"""Rows of a query as dictionaries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, TextClause

from segwatch.geo.antimeridian import choose_narrower_bounds

Rows = list[dict[str, Any]]


def fetch_rows(conn: Connection, query: TextClause, **values: object) -> Rows:
    """Run a query and return its rows by column name."""
    return [dict(row) for row in conn.execute(query, values).mappings()]


def choose_bounds(row: dict[str, Any]) -> dict[str, Any]:
    """Replace the bounds of a row by the narrower of those measured to 180 and to 360 degrees.

    Parameters
    ----------
    row
        Has ``west``, ``south``, ``east`` and ``north`` in degrees (EPSG:4326), and ``west_to_360`` and ``east_to_360``,
        measured with ``ST_ShiftLongitude``. All are None where there is no geometry.

    Returns
    -------
    dict
        The row without the last two; ``west`` is east of ``east`` where the geometry crosses the antimeridian.
    """
    shifted = row.pop("west_to_360"), row.pop("east_to_360")
    if row["west"] is None:
        return row
    sides = ("west", "south", "east", "north")
    west, south, east, north = (row[side] for side in sides)
    return row | dict(zip(sides, choose_narrower_bounds((west, south, east, north), shifted), strict=True))
