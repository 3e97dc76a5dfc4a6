"""One ledger for all tests of the client: observed, tracked, assessed, and served over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

import segwatch
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.flows.web.application import create_app
from tests.conftest import Database
from tests.support.live_web import live
from tests.support.shown_series import Shown, assess, showing_series


@dataclass(frozen=True)
class Ground:
    """A ledger, and how to reach it."""

    database: Database
    shown: Shown
    web: str
    """Address of a server of it."""

    @property
    def url(self) -> str:
        """URL with the rights of the analyst."""
        return self.database.url("segwatch_analyst")


@pytest.fixture(scope="package")
def ground(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The ledger; tests read it, and put back what they change."""
    database = Database(cluster, "test_client")
    name = sql.Identifier(database.name)
    with closing(psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True)) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE segwatch OWNER segwatch_owner").format(name))
        engine = make_engine(database.url())
        try:
            with showing_series(engine, tmp_path_factory.mktemp("series")) as shown:
                assess(engine, shown.made)
                with live(create_app(database.url("segwatch_analyst"))) as web:
                    yield Ground(database, shown, web)
        finally:
            engine.dispose()
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture(scope="package")
def session(ground: Ground) -> Iterator[segwatch.Session]:
    """A session on the database."""
    with segwatch.connect(ground.url) as made:
        yield made


@pytest.fixture(scope="package")
def web_session(ground: Ground) -> Iterator[segwatch.Session]:
    """A session on the server."""
    with segwatch.connect(ground.web) as made:
        yield made
