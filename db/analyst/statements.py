"""Statements for the OGC API, as text: its library, tipg, runs them on asyncpg connections of its own."""

from __future__ import annotations

from psycopg import sql

#: Let the session take as long as it needs; the pool resets this.
NO_TIMEOUT = "SET statement_timeout = 0"
READ_ONLY = "SET default_transaction_read_only = on"
#: Name and description of every view of a schema.
DESCRIBE_VIEWS = """
    SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c
    WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = $1) AND c.relkind = 'v'
"""
_SHIFTED_EXTENT = sql.SQL(
    "SELECT ST_XMin(around) AS west, ST_XMax(around) AS east"
    " FROM (SELECT ST_Extent(ST_ShiftLongitude({column})) AS around FROM {schema}.{table}) AS shifted"
)


def build_shifted_extent(schema: str, table: str, column: str) -> str:
    """Build the query for the bounds of a geometry column with longitudes from 0 to 360: ``west`` and ``east``."""
    names = {"schema": schema, "table": table, "column": column}
    return _SHIFTED_EXTENT.format(
        **{name: sql.Identifier(value) for name, value in names.items()}
    ).as_string()


def build_vector_tile(query: str) -> str:
    """Build the statement that encodes the rows of ``query`` as one MVT layer: the tile, and ``features``, their count.

    ``query`` holds identifiers that tipg has quoted, numbers, and conditions that cql2 has written.
    """
    return f"WITH t AS ({query}) SELECT ST_AsMVT(t.*, 'default'), count(*) AS features FROM t"  # noqa: S608
