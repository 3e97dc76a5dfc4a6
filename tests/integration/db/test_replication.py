"""A second database follows the ledger by a subscription, as the page says, and its views show the same."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.migrate import upgrade
from segwatch.geo.types.watch import TrackingSettings
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, merged
from tests.support.paths import ROOT, make_home

PAGE = (ROOT / "docs" / "how-to" / "sql.md").read_text(encoding="utf-8")
_VIEWS = {
    "objects_now": "SELECT track_id, watch, target, area_m2, status, last_change FROM watch.objects_now ORDER BY 1",
    "changes": "SELECT change_id, kind, status, retracted_at, item_hrefs FROM watch.changes ORDER BY 1",
    "alerts": "SELECT alert_id, rule, status FROM watch.alerts ORDER BY 1",
    "object_history": "SELECT state_id, valid_from, recorded_to FROM watch.object_history ORDER BY 1",
    "area_by_week": "SELECT area_by_week_id, confirmed_m2, provisional_m2 FROM watch.area_by_week ORDER BY 1",
}


@pytest.fixture
def logical() -> Iterator[Cluster]:
    """A cluster that logs for subscriptions, with a ledger and an empty database of the same schema."""
    home = make_home("logical")
    made = Cluster(home, durable=False)
    try:
        with psycopg.connect(made.up().superuser_url("postgres"), autocommit=True) as conn:
            conn.execute(_statement("ALTER SYSTEM"))
        made.down()
        info = made.up()
        upgrade(info.url_for("segwatch_owner"))
        with psycopg.connect(info.superuser_url("postgres"), autocommit=True) as conn:
            conn.execute("CREATE DATABASE follower TEMPLATE segwatch OWNER segwatch_owner")
        yield made
    finally:
        made.destroy()
        shutil.rmtree(home, ignore_errors=True)


def _statement(words: str) -> bytes:
    """The statement of the page that begins with some words."""
    (found,) = re.findall(rf"```postgresql\n({words}.*?;)\n```", PAGE, re.DOTALL)
    return str(found).encode()


def _read(conn: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    return {name: conn.execute(query.encode()).fetchall() for name, query in _VIEWS.items()}


def test_a_subscription_follows_objects_changes_and_alerts(logical: Cluster) -> None:
    info = logical.info()
    engine: Engine = make_engine(info.url_for("segwatch_worker"))
    ledger = Ledger(Database(logical, "segwatch"), engine, TrackingSettings(gone_after=1))
    pond = merged([(1, 1, 3, 3)])
    world = [SceneContent(()), SceneContent(pond), SceneContent(()), SceneContent(pond)]
    ledger.arrive(world, [0, 3])
    with (
        psycopg.connect(info.superuser_url(), autocommit=True) as source,
        psycopg.connect(info.superuser_url("follower"), autocommit=True) as target,
    ):
        source.execute(_statement("CREATE PUBLICATION"))
        # in one cluster the slot must exist before, as making it waits for the statement that asks for it
        source.execute("SELECT pg_create_logical_replication_slot('segwatch', 'pgoutput')")
        subscribe = re.sub(
            "'host=.*?'", f"'{info.superuser_url()}'", _statement("CREATE SUBSCRIPTION").decode()
        )
        target.execute(subscribe.replace(";", " WITH (create_slot = false);").encode())
        try:
            _wait(source, target)
            # a late scene closes and retracts what was copied
            ledger.arrive(world, [1, 2])
            _wait(source, target)
            assert len(_read(target)["changes"]) >= 3
        finally:
            target.execute("ALTER SUBSCRIPTION segwatch DISABLE")
            target.execute("ALTER SUBSCRIPTION segwatch SET (slot_name = NONE)")
            target.execute("DROP SUBSCRIPTION segwatch")
        tables = source.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'segwatch'::regnamespace AND c.relkind = 'r'"
            " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
        ).fetchall()
        assert tables == [], "without a primary key a table cannot be followed"
    engine.dispose()


def _wait(source: psycopg.Connection[Any], target: psycopg.Connection[Any]) -> None:
    """Wait until the follower shows what the ledger shows."""
    wanted = _read(source)
    assert all(wanted.values())
    deadline = time.monotonic() + 120
    while (found := _read(target)) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == wanted
