"""STAC API of the demo: stac-fastapi on pgstac, in a database of its own, with a role that may only read.

    SEGWATCH_STAC_DATABASE_URL=postgresql://... python -m segwatch.flows.services.stac_api --port N

:func:`prepare` creates the schema and loads the catalog beforehand.
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
#: Needed by filters on update times, which would compare text with time otherwise.
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
    """Bring the database to pgstac's current schema and load the items. Repeating it changes nothing.

    Parameters
    ----------
    database_url
        ``postgresql://`` URL of an existing database, with a role that may create roles and extensions.
    reader
        Role that the API connects with.
    items
        Folder with ``<collection>/collection.json`` and ``<collection>/items/*.json``.
    imagery_url
        Replaces ``{imagery}`` in asset hrefs.
    """
    from pypgstac.db import PgstacDB
    from pypgstac.load import Loader, Methods
    from pypgstac.migrate import Migrate

    with PgstacDB(dsn=database_url) as database:
        Migrate(database).run_migration()
        if items is not None:
            loader = Loader(database)
            loader.load_collections(_read_documents(items, "*/collection.json", imagery_url), Methods.upsert)
            loader.load_items(_read_documents(items, "*/items/*.json", imagery_url), Methods.upsert)
        pgstac.set_queryables(database.connect(), _QUERYABLES)
    # on a connection of its own: that of the block is pgstac's administrator by now
    pgstac.grant_read(database_url, reader)


def _read_documents(folder: Path, pattern: str, imagery_url: str) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob(pattern)):
        text = file.read_text(encoding="utf-8").replace(_PLACEHOLDER, imagery_url.rstrip("/"))
        yield json.loads(text)


def make_libpq_environment(database_url: str) -> dict[str, str]:
    """Make the ``PG*`` variables that stac-fastapi reads."""
    parts = urlsplit(database_url)
    return {
        "PGHOST": parts.hostname or "127.0.0.1",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or "postgres"),
        # stac-fastapi requires a password, even if the server needs none
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
    # web pages of other sites may not read the catalog from a browser
    own = {"CORS_ORIGINS": f"http://127.0.0.1:{arguments.port}"}
    os.environ.update(make_libpq_environment(database_url) | _LANDING_PAGE | own)
    # stac-fastapi reads its settings when it creates the application
    from stac_fastapi.pgstac.app import create_app

    uvicorn.run(KnownHosts(create_app()), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
