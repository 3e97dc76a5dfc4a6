"""Database URLs and engines from the settings: the operator's own server, or the embedded cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.flows.config.settings import FlowSettings


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


def _url(settings: FlowSettings, role: str) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return Cluster(settings.home).info().url_for(role)
