"""The list of collections: every view of schema ``watch``, with its extent in space and time, kept current.

Measuring an extent reads a whole view. So it is done at the start, and again at intervals that are long compared with
the time it takes: clients may see an extent that is some minutes old, never that of a server's first day.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime

import asyncpg
from fastapi import FastAPI
from tipg.collections import Catalog, Collection, pg_get_collection_index
from tipg.settings import DatabaseSettings

from segwatch.db import readers
from segwatch.db.analyst import statements
from segwatch.flows.web.ogcapi import extents
from segwatch.flows.web.ogcapi.collections import ViewCollection

SCHEMA = "watch"
#: Least time between two measurements, and how many times as long as one takes.
REFRESH_SECONDS = 300.0
REFRESH_FACTOR = 50
_log = logging.getLogger(__name__)
#: Views without geometries are collections, too: sums by week, calibrations, corrections.
_SETTINGS = DatabaseSettings(
    schemas=[SCHEMA],
    functions=[],
    exclude_function_schemas=[SCHEMA, "public", "pg_temp"],
    only_spatial_tables=False,
)


async def load(app: FastAPI) -> None:
    """List the views and measure their extents, into ``app.state.collection_catalog``."""
    async with app.state.pool.acquire() as conn:
        await conn.execute(statements.NO_TIMEOUT)  # it looks at every row
        await conn.execute(readers.SET_SESSION, *readers.EVERYTHING.settings)
        described = dict(await conn.fetch(statements.DESCRIBE_VIEWS, SCHEMA))
        found = await extents.measure_extents(conn, await pg_get_collection_index(conn, settings=_SETTINGS))
    views = [_make_view(one, described.get(one.table)) for one in found]
    app.state.collection_catalog = Catalog(
        collections={one.id: one for one in views}, last_updated=datetime.now(UTC)
    )


async def keep_current(app: FastAPI) -> None:
    """Measure the extents again and again, until cancelled; a database that is away is tried later."""
    took = 0.0
    while True:
        await asyncio.sleep(max(REFRESH_SECONDS, took * REFRESH_FACTOR))
        began = time.monotonic()
        try:
            await load(app)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            _log.warning("the extents of the collections were not measured: %s", error)
        took = time.monotonic() - began


def _make_view(one: Collection, description: str | None) -> ViewCollection:
    view = ViewCollection.model_validate({**dict(one), "schema": SCHEMA})
    key = view.key
    view.description = description or view.id
    if key is None:
        return view
    view.id_column = view.get_column(key.column)
    if key.compared is not None:
        view.datetime_column = view.get_datetime_column(key.compared[0])
        for column in view.datetime_columns:
            if column.name not in key.compared:
                # the temporal extent comes from the valid times alone
                column.mindt = column.maxdt = None
        view.description += f" The parameter datetime filters {key.meaning}."
    return view
