"""OGC API Features and vector tiles of the schema ``watch``, by tipg; no other schema, no functions."""

from __future__ import annotations

from fastapi import FastAPI
from tipg.collections import register_collection_catalog
from tipg.database import close_db_connection, connect_to_db
from tipg.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from tipg.factory import Endpoints
from tipg.settings import DatabaseSettings, PostgresSettings

_SCHEMA = "watch"


def make_app() -> FastAPI:
    """The application; :func:`connect` it before the first request."""
    app = FastAPI(title="segwatch: OGC API Features and Tiles", openapi_url="/api", docs_url=None)
    app.include_router(Endpoints(title="segwatch", with_tiles_viewer=False).router)
    add_exception_handlers(app, DEFAULT_STATUS_CODES)
    return app


async def connect(app: FastAPI, database_url: str) -> None:
    """Open the pool and list the views."""
    settings = DatabaseSettings(
        schemas=[_SCHEMA], functions=[], exclude_function_schemas=[_SCHEMA, "public", "pg_temp"]
    )
    postgres = PostgresSettings(database_url=database_url, db_max_conn_size=4)
    await connect_to_db(app, schemas=[_SCHEMA], settings=postgres, server_settings={"timezone": "UTC"})
    await register_collection_catalog(app, db_settings=settings)


async def disconnect(app: FastAPI) -> None:
    """Close the pool."""
    await close_db_connection(app)
