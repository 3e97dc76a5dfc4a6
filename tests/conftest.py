"""Fixtures for every test: a clean environment and a real PostgreSQL + PostGIS.

``cluster`` is one embedded server for the session; ``database`` a fresh, migrated database for one test
(a clone of the migrated template, about 0.1 s); ``engine`` the worker's engine on it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from sqlalchemy import Engine
from xdist.scheduler import LoadScopeScheduling

from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.migrate import upgrade
from tests.support.paths import make_home

_TEMPLATE = "segwatch"
#: Files and folders whose tests share what is slow to start; the first that fits.
_TOGETHER = (
    "tests/acceptance/test_readme.py",
    "tests/acceptance/test_two_stacks.py",
    "tests/acceptance/",
    "tests/integration/client/",
    "tests/integration/runs/",
)

for _name in list(os.environ):
    if _name.startswith(("SEGWATCH_", "PREFECT_", "PG")) and _name != "SEGWATCH_PG_BINDIR":
        del os.environ[_name]
# Test processes share the cores: threads of torch and BLAS that wait for each other take most of the time otherwise
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a test is no race: other processes share the machine
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
#: The tests' servers choose their ports.
os.environ["SEGWATCH_IMAGERY_HOSTS"] = '["127.0.0.1:*", "localhost:*"]'

# servers of tests are on this machine; what is refused without this has tests of its own
os.environ["SEGWATCH_ALLOWED_ADDRESSES"] = '["127.0.0.0/8", "::1"]'


class _OneStack(LoadScopeScheduling):  # type: ignore[misc]  # it is not typed
    """Tests one by one to whoever is free, but for those of the stack: one process starts it, and first of all."""

    def _split_scope(self, nodeid: str) -> str:
        return _find_stack(nodeid) or nodeid


def _find_stack(nodeid: str) -> str | None:
    """Find the file or folder whose stack a test uses."""
    return next((one for one in _TOGETHER if nodeid.startswith(one)), None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a stack together after their order was shuffled; it is stopped after the last of them."""
    items.sort(key=lambda item: _find_stack(item.nodeid) or "")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """For several processes."""
    return _OneStack(config, log)


@dataclass(frozen=True)
class Database:
    """A migrated database of one test."""

    cluster: Cluster
    name: str

    def url(self, role: str = "segwatch_worker") -> str:
        """URL of a role."""
        return self.cluster.info().url_for(role, database=self.name)

    @property
    def superuser_url(self) -> str:
        """Plain URL of the superuser."""
        return self.cluster.info().superuser_url(self.name)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running embedded cluster whose database ``segwatch`` is migrated."""
    home = make_home("tests")
    made = Cluster(home, durable=False)
    try:
        info = made.up()
        upgrade(info.url_for("segwatch_owner"))
        yield made
    finally:
        made.destroy()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A fresh, migrated database."""
    made = Database(cluster, f"test_{uuid4().hex[:12]}")
    name = sql.Identifier(made.name)
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER segwatch_owner")
    _as_superuser(cluster, create.format(name, sql.Identifier(_TEMPLATE)))
    try:
        yield made
    finally:
        _as_superuser(cluster, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """The worker's engine on a fresh database."""
    made = make_engine(database.url())
    yield made
    made.dispose()


@pytest.fixture
def analyst_engine(database: Database) -> Iterator[Engine]:
    """The analyst's engine on the same database as ``engine``."""
    made = make_engine(database.url("segwatch_analyst"))
    yield made
    made.dispose()


def _as_superuser(cluster: Cluster, statement: sql.Composed) -> None:
    with closing(_connect(cluster)) as conn:
        conn.execute(statement)


def _connect(cluster: Cluster) -> psycopg.Connection[Any]:
    return psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True)
