"""Retention takes what no history needs: views, late scenes and further messages do not notice."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from segwatch.db import retention
from segwatch.db.retention import Pruned, Retention
from segwatch.flows.cli.app import app
from segwatch.geo.types.tracking import ChangeKind
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells

LAKE, LARGER = cells(1, 1, 3, 3), cells(1, 1, 3, 5)
AT_ONCE = Retention(timedelta(0), timedelta(0), timedelta(0))
#: A small picture's pixels, and spectral cells, for each observation.
_PIXELS = """
    INSERT INTO segwatch.observation_chip (observation_id, crs, pixel_m, grid_row, grid_col, content)
    SELECT id, 'EPSG:32633', 10, n, 1, 'x' FROM segwatch.observation, generate_series(1, 3) n
"""
_CELLS = """
    INSERT INTO segwatch.index_cells (observation_id, crs, cell_m, west, north, width, height, names, values)
    SELECT id, 'EPSG:32633', 10, 0, 0, 1, 1, '{ndwi}', 'x' FROM segwatch.observation
"""
_TEST_MESSAGE = """
    INSERT INTO segwatch.delivery (id, channel, idempotency_key, payload, state)
    VALUES (gen_random_uuid(), 'https://hook.example', 'test', '{"type": "segwatch.test"}', 'delivered')
"""
_EVIDENCE = "UPDATE segwatch.observation SET evidence = 'quicklooks/' || id || '.png'"


@pytest.fixture
def old(ledgers: Any) -> Ledger:
    """A lake that appears, then grows, once the second scene came in a new version; every message was sent."""
    ledger: Ledger = ledgers()
    ledger.rule(kinds=tuple(ChangeKind))
    days = [SceneContent(()), SceneContent((LAKE,)), SceneContent((LARGER,))]
    ledger.arrive(days, [0, 1, 2])
    ledger.arrive({1: SceneContent((cells(1, 1, 3, 4),))}, [1], version=1)
    with ledger.engine.begin() as conn:
        for statement in (
            _PIXELS,
            _CELLS,
            _EVIDENCE,
            _TEST_MESSAGE,
            "UPDATE segwatch.delivery SET state = 'delivered', delivered_at = clock_timestamp() - interval '1 day'",
        ):
            conn.execute(text(statement))
    return ledger


def test_what_is_taken_is_counted_before_and_is_taken_once(old: Ledger) -> None:
    (superseded,) = old.rows("SELECT count(*) AS n FROM segwatch.observation WHERE superseded_at IS NOT NULL")
    assert superseded["n"] >= 1
    deleted: list[str] = []

    def delete(path: str) -> bool:
        deleted.append(path)
        return True

    before = old.known()
    with old.engine.connect() as conn:
        counted = retention.count_prunable(conn, AT_ONCE)
        assert retention.count_prunable(conn, Retention(*3 * [timedelta(days=2)])) == Pruned()
        assert retention.count_prunable(conn, Retention(None, None, None)) == Pruned()
    assert counted.messages >= 1
    assert counted.chips == 3 * superseded["n"]
    assert counted.index_cells == superseded["n"]
    assert retention.prune(old.engine, AT_ONCE, delete, batch=2) == counted
    assert retention.prune(old.engine, AT_ONCE, delete) == Pruned()
    assert old.known() == before
    assert len(deleted) == counted.quicklooks > 0
    (kept,) = old.rows(
        """SELECT count(DISTINCT h.observation_id) AS chips, count(DISTINCT o.id) AS current
           FROM segwatch.observation o LEFT JOIN segwatch.observation_chip h ON h.observation_id = o.id
           WHERE o.superseded_at IS NULL"""
    )
    assert kept["chips"] == kept["current"] > 0
    alerted = old.rows(
        """SELECT o.evidence FROM segwatch.observation o JOIN segwatch.change c ON c.observation_id = o.id
           JOIN segwatch.alert a ON a.change_id = c.id"""
    )
    assert alerted
    assert all(row["evidence"] for row in alerted)


def test_a_late_scene_and_the_messages_that_follow_are_as_without_pruning(old: Ledger) -> None:
    """The last message about each alert on each channel stays, so that its correction can be written."""
    retention.prune(old.engine, AT_ONCE, lambda _: True)
    emptied = old.rows(
        """SELECT d.alert_id FROM segwatch.delivery d WHERE d.payload = '{}' AND d.alert_id IS NOT NULL
           AND (d.ordinal = 0 OR NOT EXISTS (
               SELECT FROM segwatch.delivery n
               WHERE n.alert_id = d.alert_id AND n.channel = d.channel AND n.ordinal > d.ordinal))"""
    )
    assert emptied == []
    before = old.rows("SELECT count(*) AS n FROM segwatch.delivery")
    old.arrive({2: SceneContent(())}, [2], version=1)
    (pending,) = old.rows(
        "SELECT count(*) AS n, count(payload -> 'data') AS whole FROM segwatch.delivery WHERE state = 'pending'"
    )
    assert before
    assert pending["n"] == pending["whole"] > 0


def test_a_file_that_cannot_be_deleted_is_still_named(old: Ledger) -> None:
    done = retention.prune(old.engine, AT_ONCE, lambda _: False, batch=1)
    assert done.quicklooks == 0
    (row,) = old.rows("SELECT count(*) AS n FROM segwatch.observation WHERE evidence IS NULL")
    assert row["n"] == 0


def test_the_command_deletes_old_quicklooks(
    old: Ledger, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "SEGWATCH_DATABASE_URL": database.url(),
        "SEGWATCH_EVIDENCE": str(tmp_path),
        "SEGWATCH_KEEP_QUICKLOOKS_DAYS": "30",
        "SEGWATCH_KEEP_MESSAGES_DAYS": "",
    }.items():
        monkeypatch.setenv(name, value)
    with old.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.observation SET committed_at = committed_at - interval '31 days'"))
    (tmp_path / "quicklooks").mkdir()
    for row in old.rows("SELECT evidence FROM segwatch.observation"):
        (tmp_path / row["evidence"]).touch()
    before = len(list(tmp_path.glob("quicklooks/*")))
    counted = json.loads(CliRunner().invoke(app, ["db", "prune", "--dry-run", "--json"]).stdout)
    assert len(list(tmp_path.glob("quicklooks/*"))) == before
    done = CliRunner().invoke(app, ["db", "prune", "--json"])
    assert json.loads(done.stdout) == counted
    assert counted["messages"] == 0
    assert len(list(tmp_path.glob("quicklooks/*"))) == before - counted["quicklooks"] < before
