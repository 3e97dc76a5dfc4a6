"""Composition root: settings -> database engine. The only place that knows where the ledger is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.flows.config.settings import FlowSettings


def worker_url(settings: FlowSettings) -> str:
    """Database URL with the worker's rights: the user's own server, or the embedded cluster."""
    return _url(settings, "segwatch_worker")


def analyst_url(settings: FlowSettings) -> str:
    """Database URL for the analyst views; whoever serves with it makes sure that it only reads."""
    if settings.analyst_url is not None:
        return settings.analyst_url.get_secret_value()
    return _url(settings, "segwatch_analyst")


@contextmanager
def worker_engine(settings: FlowSettings) -> Iterator[Engine]:
    """Engine with the worker's rights, for the length of the block."""
    engine = make_engine(worker_url(settings))
    try:
        yield engine
    finally:
        engine.dispose()


def _url(settings: FlowSettings, role: str) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return Cluster(settings.home).info().url_for(role)
