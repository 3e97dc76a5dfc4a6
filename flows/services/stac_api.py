"""The demo's STAC API: stac-fastapi on pgstac, in a database of its own, with a role that reads.

    SEGWATCH_STAC_DATABASE_URL=postgresql://... python -m segwatch.flows.services.stac_api --port N

Whoever starts it has prepared the database and loaded the catalog, with :func:`prepare`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import uvicorn

from segwatch.db.embedded import pgstac
from segwatch.flows.runtime.hosts import KnownHosts

_DATABASE = "SEGWATCH_STAC_DATABASE_URL"
_PLACEHOLDER = "{imagery}"
_LANDING_PAGE = {
    "STAC_FASTAPI_TITLE": "segwatch demo catalog",
    "STAC_FASTAPI_DESCRIPTION": "Imagery of the segwatch demo",
    "STAC_FASTAPI_LANDING_ID": "segwatch-demo",
    "STAC_FASTAPI_VERSION": "1",
}
#: Without these a filter on update times compares text with time and fails.
_QUERYABLES: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "$id": "https://stac.example.org/queryables",
    "type": "object",
    "title": "Queryables",
    "properties": {
        "created": {"type": "string", "format": "date-time"},
        "updated": {"type": "string", "format": "date-time"},
        "eo:cloud_cover": {"type": "number"},
        "platform": {"type": "string"},
    },
    "additionalProperties": True,
}


def prepare(database_url: str, reader: str, items: Path | None = None, imagery_url: str = "") -> None:
    """Bring the database to pgstac's current schema and load what ``items`` holds. Repeating changes nothing.

    Parameters
    ----------
    database_url
        ``postgresql://`` URL of an existing database, of a role that may create roles and extensions.
    reader
        The role that the API connects with.
    items
        Folder with ``<collection>/collection.json`` and ``<collection>/items/*.json``.
    imagery_url
        Takes the place of ``{imagery}`` in asset hrefs.
    """
    from pypgstac.db import PgstacDB
    from pypgstac.load import Loader, Methods
    from pypgstac.migrate import Migrate

    with PgstacDB(dsn=database_url) as database:
        Migrate(database).run_migration()
        if items is not None:
            loader = Loader(database)
            loader.load_collections(_documents(items, "*/collection.json", imagery_url), Methods.upsert)
            loader.load_items(_documents(items, "*/items/*.json", imagery_url), Methods.upsert)
        pgstac.set_queryables(database.connect(), _QUERYABLES)
    # on a connection of its own: that of the block is pgstac's administrator by now
    pgstac.grant_read(database_url, reader)


def _documents(folder: Path, pattern: str, imagery_url: str) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob(pattern)):
        text = file.read_text(encoding="utf-8").replace(_PLACEHOLDER, imagery_url.rstrip("/"))
        yield json.loads(text)


def libpq_environment(database_url: str) -> dict[str, str]:
    """The ``PG*`` variables that stac-fastapi reads."""
    parts = urlsplit(database_url)
    return {
        "PGHOST": parts.hostname or "127.0.0.1",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or "postgres"),
        # stac-fastapi insists on a password even where the server wants none
        "PGPASSWORD": unquote(parts.password or "unused"),
        "PGDATABASE": parts.path.lstrip("/"),
    }


def main() -> None:
    """Serve on 127.0.0.1 until stopped."""
    parser = argparse.ArgumentParser(description="STAC API on pgstac.")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    database_url = os.environ.get(_DATABASE)
    if not database_url:
        parser.error(f"set {_DATABASE} to the postgresql:// URL of the STAC database")
    # pages of other sites may not read it from a browser
    own = {"CORS_ORIGINS": f"http://127.0.0.1:{arguments.port}"}
    os.environ.update(libpq_environment(database_url) | _LANDING_PAGE | own)
    # the application reads its settings while it is made
    from stac_fastapi.pgstac.app import create_app

    uvicorn.run(KnownHosts(create_app()), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
