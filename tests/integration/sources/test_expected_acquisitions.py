"""A catalog that answers and publishes nothing is told from one that has nothing new; another one takes over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from shapely.geometry import box
from sqlalchemy import Engine

from segwatch.db import analyst, health, watches
from segwatch.flows.doctor import checks
from segwatch.flows.doctor.facts import Facts
from segwatch.flows.doctor.findings import Finding, Level
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.geo.sources import profiles
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.stac_store import Store, stac_store

START = datetime(2024, 1, 1, 10, tzinfo=UTC)
POINT = (0.5, 0.5)


def put(store: Store, passes: range, *, orbit: int = 22, lag: timedelta = timedelta(hours=5)) -> None:
    """Add passes of an orbit, ten days apart."""
    for number in passes:
        at = START + timedelta(days=10 * number)
        store.put(
            f"{orbit}-{number}",
            at.isoformat().replace("+00:00", "Z"),
            updated=(at + lag).isoformat().replace("+00:00", "Z"),
            platform="sentinel-2a",
            **{"sat:relative_orbit": orbit},
        )


def make_watch(url: str) -> Watch:
    area = box(0.2, 0.2, 0.8, 0.8)
    profile = profiles.load("rgb-cog")
    return Watch("w", Instruction("segment the water"), area, profile, url, START, catalog_name="sentinel")


def look(engine: Engine, days: float) -> int:
    """Search so many days after the first pass."""
    now = START + timedelta(days=days)
    return discover_watch(engine, "w", model_version="m@1", now=now).queued


def read_findings(engine: Engine) -> list[Finding]:
    with engine.connect() as conn:
        ledger = health.read(conn)
    found = checks.check(Facts(ledger.now, ledger=ledger))
    return [one for one in found if "orbit" in one.says]


def read_operations(engine: Engine) -> dict[str, Any]:
    with engine.connect() as conn:
        (row,) = analyst.list_operations(conn)
    return dict(row)


@pytest.fixture
def store() -> Store:
    """A catalog with eight passes of an orbit, of which it never published the fourth."""
    made = Store()
    put(made, range(8))
    del made.items["22-3"]
    return made


def test_what_a_catalog_did_not_publish_is_counted_and_told(engine: Engine, store: Store) -> None:
    with stac_store(store) as url:
        with engine.begin() as conn:
            watches.apply(conn, make_watch(url))
        assert look(engine, 75) == 7
        row = read_operations(engine)
        assert (row["acquisitions_seen"], row["acquisitions_missing"], row["missed_revisits"]) == (7, 1, 0)
        assert row["next_expected_at"] == START + timedelta(days=80)
        assert row["publication_p50_seconds"] == row["publication_p95_seconds"] == 5 * 3600
        assert read_findings(engine) == []
        with engine.connect() as conn:
            rows = analyst.explain_missing_alert(conn, "w", *POINT, START + timedelta(days=75))
            elsewhere = analyst.explain_missing_alert(conn, "w", 5, 5, START + timedelta(days=75))
        missing = [one for one in rows if one["answer"] == "not published"]
        assert [one["acquired_at"] for one in missing] == [START + timedelta(days=30)]
        assert "sentinel-2a orbit 22" in missing[0]["waits"]
        assert not [one for one in elsewhere if one["answer"] == "not published"]
        # the catalog falls silent: it answers, and has nothing new
        look(engine, 100.5)
        assert read_findings(engine) == [], "the catalog has time to publish the third pass"
        look(engine, 112)
        (finding,) = read_findings(engine)
        assert finding.level is Level.WRONG
        assert "4 time(s)" in finding.says
        # it publishes late what it held back
        put(store, range(3, 12), lag=timedelta(days=2))
        assert look(engine, 113.2) > 0, "the daily reconcile finds them"
        assert read_findings(engine) == []
        assert read_operations(engine)["acquisitions_missing"] == 0


def test_one_silent_orbit_of_several_is_a_note(engine: Engine, store: Store) -> None:
    put(store, range(12), orbit=65)
    with stac_store(store) as url:
        with engine.begin() as conn:
            watches.apply(conn, make_watch(url))
        look(engine, 112)
    (finding,) = read_findings(engine)
    assert finding.level is Level.NOTE
    assert "orbit 22 (4)" in finding.says
    assert "65" not in finding.says


def test_another_catalog_of_the_same_name_takes_over_without_duplicates(engine: Engine, store: Store) -> None:
    """Scenes are identified by the catalog's name: those known are found again, and those that were missing come."""
    other = Store()
    put(other, range(12))
    with stac_store(store) as first, stac_store(other) as second:
        with engine.begin() as conn:
            watches.apply(conn, make_watch(first))
        assert look(engine, 75) == 7
        with engine.begin() as conn:
            watches.apply(conn, make_watch(second))
        assert look(engine, 112) == 5
        assert look(engine, 112.1) == 0
    with engine.connect() as conn:
        counts = conn.exec_driver_sql(
            "SELECT count(*), count(DISTINCT acquired_at) FROM segwatch.scene"
        ).one()
    assert tuple(counts) == (12, 12)
    assert read_findings(engine) == []
    assert read_operations(engine)["acquisitions_missing"] == 0
