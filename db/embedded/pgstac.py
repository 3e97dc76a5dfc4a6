"""What the demo's STAC database needs beyond pgstac's own migrations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql


def set_queryables(conn: psycopg.Connection[Any], queryables: Mapping[str, Any]) -> None:
    """Store the queryables (a JSON Schema) of all collections, replacing earlier ones."""
    conn.execute(
        "SELECT pgstac.upsert_queryables(%s::jsonb, NULL::text[], NULL::text[], false)",
        [json.dumps(queryables)],
    )


def grant_read(database_url: str, role: str) -> None:
    """Let a role read the catalog; ``database_url`` is of the database's owner."""
    with psycopg.connect(database_url) as conn:
        conn.execute(sql.SQL("GRANT pgstac_read TO {}").format(sql.Identifier(role)))
