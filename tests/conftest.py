"""Fixtures for every test: a clean environment and a real PostgreSQL + PostGIS.

``cluster`` is one embedded server for the session; ``database`` a fresh, migrated database for one test
(a clone of the migrated template, about 0.1 s); ``engine`` the worker's engine on it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
from tests.support.paths import DATA, make_home

_TEMPLATE = "segwatch"
_TWO_STACKS, _README = "tests/acceptance/test_two_stacks.py", "tests/acceptance/test_readme.py"
#: Folders and files whose tests share what is slow to make, the longest first: what comes last is not waited for long.
_TOGETHER = (
    "tests/acceptance/",
    "tests/integration/runs/",
    "tests/unit/model/",
    _README,
    _TWO_STACKS,
    "tests/integration/client/",
)
#: The files that take longest beside these, the longest first, so that no process is waited for that began one last.
_LONG = (
    "tests/chaos/test_chaos.py",
    "tests/integration/web/test_api.py",
    "tests/integration/db/test_cluster.py",
    "tests/invariants/test_2_order_independent.py",
    "tests/integration/sources/test_complete_searches.py",
    "tests/integration/web/test_greedy_strangers.py",
    "tests/integration/inference/test_hanging.py",
    "tests/integration/sources/test_hostile_items.py",
    "tests/integration/inference/test_outages.py",
    "tests/integration/web/test_serving.py",
    "tests/integration/inference/test_lost_work.py",
    "tests/integration/cli/test_mistakes.py",
    "tests/integration/learning/test_adapting.py",
)

for _name in list(os.environ):
    if _name.startswith(("SEGWATCH_", "PREFECT_", "PG")) and _name != "SEGWATCH_PG_BINDIR":
        del os.environ[_name]
# What pytest rewrites and Python compiles is kept: every process of the tests would do it again, which takes seconds
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Every client of httpx and Prefect loads the certificates of all authorities, which takes it 20 ms; one is enough here
os.environ["SSL_CERT_FILE"] = str(DATA / "authority.pem")
# Test processes share the cores: threads of torch and BLAS that wait for each other take most of the time otherwise
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a test is no race: other processes share the machine
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
#: The tests' servers choose their ports.
os.environ["SEGWATCH_IMAGERY_HOSTS"] = '["127.0.0.1:*", "localhost:*"]'

# servers of tests are on this machine; what is refused without this has tests of its own
os.environ["SEGWATCH_ALLOWED_ADDRESSES"] = '["127.0.0.0/8", "::1"]'


class _ByFixtures(LoadScopeScheduling):  # type: ignore[misc]  # it is not typed
    """Tests that share fixtures to one process, which makes them once: those of a file, or of one of these folders."""

    def _split_scope(self, nodeid: str) -> str:
        return _find_scope(nodeid)


def _find_scope(nodeid: str) -> str:
    """Find the file or folder with which a test shares its fixtures."""
    file = nodeid.partition("::")[0]
    return file if file in _TOGETHER else next((one for one in _TOGETHER if file.startswith(one)), file)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of these folders together after their order was shuffled, and put what takes longest first."""
    rank = {scope: number for number, scope in enumerate((*_TOGETHER, *_LONG))}
    items.sort(key=lambda item: rank.get(_find_scope(item.nodeid), len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """For several processes; the scopes in the order of the tests, not the one with the most tests first."""
    config.option.loadscopereorder = False
    return _ByFixtures(config, log)


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


@contextmanager
def make_database(cluster: Cluster) -> Iterator[Database]:
    """Make a fresh, migrated database, for the length of the block."""
    made = Database(cluster, f"test_{uuid4().hex[:12]}")
    name = sql.Identifier(made.name)
    # nothing is durable here, so a copy of the files is cheaper than writing all pages to the log
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER segwatch_owner STRATEGY FILE_COPY")
    _as_superuser(cluster, create.format(name, sql.Identifier(_TEMPLATE)))
    try:
        yield made
    finally:
        _as_superuser(cluster, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A fresh, migrated database."""
    with make_database(cluster) as made:
        yield made


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
