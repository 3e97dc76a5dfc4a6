"""Database URLs and engines from the settings: the operator's own server, or the embedded cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from segwatch.db.compatibility import require_compatible
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.errors import ClusterDown, describe_error, is_server_away
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.runtime import stopping

_log = logging.getLogger(__name__)
_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.2, 5.0


def make_worker_url(settings: FlowSettings) -> str:
    """Make the database URL with the worker's rights."""
    return _url(settings, "segwatch_worker")


def make_analyst_url(settings: FlowSettings) -> str:
    """Make the database URL for the analyst views; the web server checks that its role may only read."""
    if settings.analyst_url is not None:
        return settings.analyst_url.get_secret_value()
    return _url(settings, "segwatch_analyst")


@contextmanager
def open_worker_engine(settings: FlowSettings) -> Iterator[Engine]:
    """Open an engine with the worker's rights, and dispose of it after the block."""
    engine = make_engine(make_worker_url(settings))
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def open_run_engine(settings: FlowSettings, say: Callable[[str], None] = _log.warning) -> Iterator[Engine]:
    """Open an engine with the worker's rights for a run, which waits while the database is away.

    Parameters
    ----------
    say
        Receives a message when the run begins to wait.

    Raises
    ------
    segwatch.db.errors.DbError, sqlalchemy.exc.DBAPIError
        The database is away for longer than ``database_wait_seconds``, or refuses this user.
    segwatch.db.errors.IncompatibleSchema
        This code is too old or too new for the schema of the database.
    """
    engine = _connect(settings, say)
    try:
        yield engine
    finally:
        engine.dispose()


def _connect(settings: FlowSettings, say: Callable[[str], None]) -> Engine:
    deadline = time.monotonic() + settings.database_wait_seconds
    wait, told = _MIN_WAIT_SECONDS, False
    while True:
        try:
            engine = make_engine(make_worker_url(settings))
            with engine.connect() as conn:
                require_compatible(conn)
            return engine
        except Exception as error:
            away = _is_stopped(settings) if isinstance(error, ClusterDown) else is_server_away(error)
            if not away or time.monotonic() >= deadline or stopping.stop_requested.is_set():
                raise
            if not told:
                limit = f"{settings.database_wait_seconds:.0f} s"
                say(f"the database is away, waiting for it for up to {limit}: {describe_error(error)}")
            told = True
        stopping.stop_requested.wait(wait)
        wait = min(2 * wait, _MAX_WAIT_SECONDS)


def _is_stopped(settings: FlowSettings) -> bool:
    """Whether the embedded cluster was set up once; nobody would start one that was not."""
    return Cluster(settings.home).status().port is not None


def _url(settings: FlowSettings, role: str) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return Cluster(settings.home).info().url_for(role)
