"""A catalog that answers and publishes nothing is told from one that has nothing new; another one takes over."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from shapely.geometry import box
from sqlalchemy import Engine

from segwatch.db import analyst, health, messages, watches
from segwatch.flows.alerting.channels import render_message
from segwatch.flows.doctor import checks
from segwatch.flows.doctor.facts import Facts
from segwatch.flows.doctor.findings import Finding, Level
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.geo.errors import CatalogUnreachable
from segwatch.geo.sources import profiles
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule, Instruction, Watch
from tests.support.paths import ROOT
from tests.support.stac_store import Store, stac_store

SCHEMA = json.loads((ROOT / "docs/reference/messages.schema.json").read_text(encoding="utf-8"))

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


def read_messages(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as conn:
        rows = conn.exec_driver_sql("SELECT payload FROM segwatch.delivery ORDER BY sequence").scalars()
        return [dict(row) for row in rows]


def list_scenes(engine: Engine) -> list[datetime]:
    """Acquisitions of the observations in force, each as often as it is observed."""
    with engine.connect() as conn:
        query = "SELECT acquired_at FROM segwatch.observation WHERE superseded_at IS NULL ORDER BY 1"
        return list(conn.exec_driver_sql(query).scalars())


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


def test_channels_are_told_once_of_a_silence_and_once_of_its_end(engine: Engine, store: Store) -> None:
    rules = tuple(
        AlertRule(name, (ChangeKind.APPEARED,), channels=("https://hook.example", "apprise:ops"))
        for name in ("one", "other")
    )
    with stac_store(store) as url:
        with engine.begin() as conn:
            watches.apply(conn, replace(make_watch(url), rules=rules))
        look(engine, 75)
        assert read_messages(engine) == []
        for days in (112, 113, 123):
            look(engine, days)
        told = read_messages(engine)
        assert [one["type"] for one in told] == [messages.CATALOG_SILENT] * 2
        assert told[0]["data"]["missed_revisits"] == 4
        assert told[0]["data"]["last_acquired_at"] == (START + timedelta(days=70)).isoformat()
        for one in told:
            Draft202012Validator(SCHEMA).validate(one)
            title, body = render_message(one)
            assert title == "w: no new scenes"
            assert "sentinel-2a orbit 22" in body
        put(store, range(8, 13))
        for moment in (124.5, 124.6):
            look(engine, moment)
        told = read_messages(engine)[2:]
        assert [one["type"] for one in told] == [messages.CATALOG_RESUMED] * 2
        assert render_message(told[0])[0] == "w: scenes come again"
        Draft202012Validator(SCHEMA).validate(told[0])


def test_an_outage_of_many_revisits_is_told_too(engine: Engine, store: Store) -> None:
    with stac_store(store) as url:
        watch = make_watch(url)
        rule = AlertRule("one", (ChangeKind.APPEARED,), channels=("https://hook.example",))
        with engine.begin() as conn:
            watches.apply(conn, replace(watch, rules=(rule,)))
        look(engine, 75)
    with pytest.raises(CatalogUnreachable):
        look(engine, 112)
    assert [one["type"] for one in read_messages(engine)] == [messages.CATALOG_SILENT]


@pytest.mark.parametrize("ids", ["same", "other"])
def test_a_fallback_supplies_what_a_silent_catalog_lacks_and_nothing_twice(
    engine: Engine, store: Store, ids: str
) -> None:
    other = Store()
    put(other, range(12))
    if ids == "other":
        other.items = {
            f"mirror-{name}": item | {"id": f"mirror-{name}"} for name, item in other.items.items()
        }
    with stac_store(store) as first, stac_store(other) as second:
        with engine.begin() as conn:
            watches.apply(conn, replace(make_watch(first), fallback=second))
        assert look(engine, 75) == 7
        assert look(engine, 100.5) == 0, "the catalog is not silent yet"
        assert look(engine, 112) == 4, (
            "those since, not the fourth, which lies before the month that is searched"
        )
        assert look(engine, 113.5) == 0
        expected = [START + timedelta(days=10 * number) for number in range(12) if number != 3]
        assert list_scenes(engine) == expected
        row = read_operations(engine)
        assert (row["acquisitions_missing"], row["missed_revisits"]) == (1, 4), "it is silent all the same"
        assert "source.fallback is searched" in read_findings(engine)[0].fix
        # it comes back: what the fallback has shown is not observed again, but in place of an item of another id
        put(store, range(4, 13))
        assert look(engine, 124.6) == (1 if ids == "same" else 5)
        assert sorted(set(list_scenes(engine))) == [*expected, START + timedelta(days=120)]
        assert read_operations(engine)["missed_revisits"] == 0
        assert read_findings(engine) == []


def test_a_fallback_is_searched_while_the_catalog_does_not_answer(engine: Engine, store: Store) -> None:
    other = Store()
    put(other, range(9))
    with stac_store(other) as second:
        with stac_store(store) as first:
            with engine.begin() as conn:
                watches.apply(conn, replace(make_watch(first), fallback=second))
            assert look(engine, 75) == 7
        # the fourth pass, which the first never published, lies before the month that is searched
        found = discover_watch(engine, "w", model_version="m@1", now=START + timedelta(days=81))
        assert found.queued == 1
        assert "fallback" in found.note
    with engine.connect() as conn:
        (state,) = health.read_watches(conn)
    assert state.failures == 1, "the outage is reported all the same"
    with pytest.raises(CatalogUnreachable):
        look(engine, 82)
