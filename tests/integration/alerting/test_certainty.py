"""How sure an alert must be: the rule's choice from the watch file to the alert, and what the backtest says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from segwatch.flows.cli.app import app
from segwatch.geo.types.watch import AlertStatus
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells

LAKE, POND, FALSE = cells(1, 1, 4, 4), cells(5, 5, 7, 7), cells(5, 1, 6, 2)
#: A pond that stays, and a false detection of one day.
WORLD = [SceneContent((LAKE,))] * 2 + [SceneContent((LAKE, POND, FALSE))] + [SceneContent((LAKE, POND))] * 3
FILE = """
version: 1
name: lakes
instruction: segment the water
area: {bbox: [10.0, 50.0, 10.016, 50.016]}
source: {profile: rgb-cog, catalog: "https://stac.example"}
start: 2024-01-01T00:00:00Z
rules: [{name: any}]
"""


def types(ledger: Ledger) -> list[tuple[str, str]]:
    rows = ledger.rows(
        "SELECT DISTINCT payload #>> '{data,track_id}' AS track, payload ->> 'type' AS type, ordinal"
        " FROM segwatch.delivery ORDER BY 1, 3"
    )
    return [(row["track"], row["type"].removeprefix("segwatch.alert")) for row in rows]


@pytest.mark.parametrize("status", list(AlertStatus))
def test_rules_alert_on_first_evidence_or_on_confirmation(ledgers: Any, status: AlertStatus) -> None:
    ledger: Ledger = ledgers()
    ledger.rule(status=status, confidence=0.8 if status is AlertStatus.CONFIRMED else 0.0)
    for day in range(len(WORLD)):
        ledger.arrive(WORLD, [day])
    beliefs = {row["status"] for row in ledger.rows("SELECT status FROM watch.changes WHERE NOT baseline")}
    assert beliefs == {"confirmed", "refuted"}
    found = [one for _, one in types(ledger)]
    if status is AlertStatus.CONFIRMED:
        assert found == [""], "the pond alone"
    else:
        assert sorted(found)[:2] == ["", ""]
        assert sorted(found)[2:] in ([".refuted"], [".confirmed", ".refuted"]), (
            "the pond may be confirmed at once"
        )


def test_the_delay_of_a_disappearance_counts_from_its_first_miss(
    ledgers: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised on day 5, at the third miss."""
    ledger: Ledger = ledgers(gone_after=3)
    lake, gone = SceneContent((cells(1, 1, 4, 4),)), SceneContent(())
    ledger.arrive([lake] * 3 + [gone] * 4, list(range(7)))
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    file = tmp_path / "lakes.yaml"
    file.write_text(FILE, encoding="utf-8")
    done = CliRunner().invoke(app, ["watch", "test-rule", str(file), "--json"])
    (rule,) = json.loads(done.stdout)
    (fast, *_) = rule["trade"]
    assert (fast["alerts"], fast["delay_observations"], fast["delay_days"]) == (1, 2, 2)


def test_the_backtest_says_what_certainty_costs(
    ledgers: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger: Ledger = ledgers()
    for day in range(len(WORLD)):
        ledger.arrive(WORLD, [day])
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    file = tmp_path / "lakes.yaml"
    file.write_text(FILE, encoding="utf-8")
    done = CliRunner().invoke(app, ["watch", "test-rule", str(file), "--json"])
    assert done.exit_code == 0, done.output
    (rule,) = json.loads(done.stdout)
    trade = {(one["status"], one["confidence"]): one for one in rule["trade"]}
    fast, sure = trade["provisional", 0.0], trade["confirmed", 0.8]
    assert (fast["alerts"] - sure["alerts"], sure["refuted"]) == (fast["refuted"], 0)
    assert fast["refuted"] >= 1
    assert (fast["delay_observations"], fast["delay_days"]) == (0, 0)
    assert sure["chosen"]
    assert rule["alerts"] == sure["alerts"] == 1
    table = CliRunner().invoke(app, ["watch", "test-rule", str(file)])
    rows = [line.split("\t") for line in table.stdout.splitlines()]
    assert "later_refuted" in {name.replace(" ", "_") for row in rows for name in row}
    assert any(row[:2] == ["confirmed", "0.9"] for row in rows)
