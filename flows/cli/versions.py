"""``segwatch version``: versions of segwatch, its model, its schema and what it is built on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as read_version

from segwatch.flows.cli.console import Json, clear_errors, list_expected_errors, open_engine, print_fields

_UNKNOWN = "unknown"
_BUILT_ON = ("prefect", "torch", "transformers", "rasterio", "geopandas", "sqlalchemy")


def version(as_json: Json = False) -> None:
    """Print the versions of segwatch, its model, its schema and what it is built on.

    A database that is away does not fail the command: its line says why its schema is unknown.
    """
    print_versions(as_json=as_json)


def print_versions(*, as_json: bool) -> None:
    """Print every version on a line of its own."""
    with clear_errors():
        found = {"segwatch": _read("segwatch"), "model": _read_model(), **_read_database()}
        found |= {"python": platform.python_version()} | {name: _read(name) for name in _BUILT_ON}
        print_fields(found, as_json=as_json)


def _read(package: str) -> str:
    try:
        return read_version(package)
    except PackageNotFoundError:
        return "not installed"


def _read_model() -> str:
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.inference import segmenters

    try:
        return segmenters.get_model_version(load_settings())
    except list_expected_errors() as error:
        return f"{_UNKNOWN}: {error}"


def _read_database() -> dict[str, str]:
    """Read the version of the schema that this code needs, the one stored, and the server's."""
    from sqlalchemy.exc import DBAPIError

    from segwatch.db import migrate
    from segwatch.db.errors import DbError, describe_error

    needed = migrate.find_newest_revision()
    try:
        with open_engine() as engine, engine.connect() as conn:
            stored = migrate.read_versions(conn)
    except (DbError, DBAPIError) as error:
        return {"schema": needed, "database": f"{_UNKNOWN}: {describe_error(error)}"}
    return {
        "schema": needed,
        "database": stored.schema,
        "postgresql": stored.postgresql,
        "postgis": stored.postgis,
    }
