"""The ledger itself as a source: read-only transactions on PostgreSQL, with the rights of the analyst role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from segwatch.client.errors import AccessRefused, ConnectFailed, SegwatchError
from segwatch.db import analyst
from segwatch.db.analyst.pages import Query, stream_pages
from segwatch.db.engine import make_engine, to_driver_url
from segwatch.db.errors import DbError, describe_error, is_schema_outdated, is_server_away

_APPLICATION = "segwatch-python"


class LedgerSource:
    """Reads a ledger.

    Parameters
    ----------
    url
        ``postgresql://`` URL; the rights of ``segwatch_analyst`` are enough.

    Raises
    ------
    ConnectFailed
        Nothing answers there, or it is no ledger of this version.
    AccessRefused
        The server refuses this user.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = to_driver_url(url)
            self._engine: Engine = make_engine(url, application_name=_APPLICATION, read_only=True)
        except DbError as error:
            raise ConnectFailed(str(error)) from error
        shown = URL.create("postgresql", parsed.username, None, parsed.host, parsed.port, parsed.database)
        self._where = shown.render_as_string()
        try:
            with self._open() as conn:
                analyst.check_readable(conn)
        except BaseException:
            self._engine.dispose()
            raise

    @property
    def where(self) -> str:
        """Address of the database, without password and options."""
        return self._where

    def stream_pages(self, query: Query, rows: int) -> Iterator[list[dict[str, Any]]]:
        """Read the rows of a query in pages, all from one snapshot."""
        with self._open() as conn:
            yield from stream_pages(conn, query, rows)

    def read_accuracy(self, watch: str) -> dict[str, Any]:
        """See :class:`segwatch.client.sources.Source`."""
        with self._open() as conn:
            found = analyst.read_accuracy(conn, watch)
        return {**asdict(found), "words": analyst.describe_accuracy(found)}

    def list_items(self, watch: str, scene_id: str) -> list[dict[str, Any]]:
        """See :class:`segwatch.client.sources.Source`; signed links are secrets."""
        with self._open() as conn:
            return analyst.list_readable_items(conn, watch, scene_id)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _open(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as conn:
                yield conn
        except DBAPIError as error:
            raise _translate(error, self._where) from error


def _translate(error: DBAPIError, where: str) -> SegwatchError:
    words = describe_error(error)
    if is_schema_outdated(error):
        return ConnectFailed(
            f"{where} has no ledger of this version of segwatch; name another database, or, as its operator, "
            "run: segwatch db up"
        )
    if is_server_away(error):
        return ConnectFailed(
            f"nothing answers at {where} ({words}); start the server, or name another one: "
            "segwatch.connect('postgresql://USER@HOST:PORT/DATABASE')"
        )
    return AccessRefused(f"{where} refuses this: {words}")
