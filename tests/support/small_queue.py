"""A few small scenes that wait in a real ledger, and a database that lets nobody in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine

from segwatch.db import observations, scenes, watches
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.sources import profiles
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.images import GRID

NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
AREA = to_lonlat(box(*GRID.boundingbox).buffer(-20), get_crs(GRID))


def queue(
    engine: Engine,
    url: str,
    version: str,
    *,
    first: int = 0,
    count: int = 1,
    name: str = "lakes",
    words: str = "the water",
    area: BaseGeometry = AREA,
    priority: int = 100,
) -> None:
    """So many scenes, a day apart from the ``first`` day on, all of the image at /a.tif, wait for a watch."""
    found = []
    for number in range(first, first + count):
        at = NOW + timedelta(days=number)
        item = Item(
            f"item-{number}", "visual", url, at, None, "made", "1", "", AREA, {"visual": f"{url}/a.tif"}
        )
        found.append(Scene("visual", "made", "1", at.date(), at, (item,), AREA))
    watch = Watch(
        name, Instruction(words, ("water",)), area, profiles.load("rgb-cog"), url, NOW, priority=priority
    )
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
        observations.enqueue(conn, revision, version, scenes.upsert(conn, found))


@contextmanager
def nobody_gets_in(database: Any) -> Iterator[None]:
    """Every connection of the database is cut, and no new one is let in."""
    name = sql.Identifier(database.name)
    url = database.cluster.info().superuser_url("postgres")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name]
            )
            yield
        finally:
            conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
