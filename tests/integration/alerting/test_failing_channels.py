"""What an operator reads about channels that fail: their state between circuits, their names, and who uses them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from segwatch.flows.alerting.channels import name_channel, name_channels
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import load_settings
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.receiving import receiving

WORLD = [SceneContent(()), SceneContent(tuple(cells(1.2 * k, 1, 1.2 * k + 0.9, 3) for k in range(6)))]


@pytest.fixture(autouse=True)
def _commands_use_the_ledger_of_this_test(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def segwatch(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)


def read_outbox_findings() -> list[dict[str, str]]:
    return [one for one in segwatch("doctor")["findings"] if one["about"] == "outbox"]


def end_circuit(ledger: Ledger) -> None:
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.channel SET resting_until = clock_timestamp()"))


def test_doctor_reports_a_failing_channel_also_between_circuits(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving(answers={"/k3y": (500, {})}) as taken:
        ledger.rule(channels=(taken.url + "/k3y",))
        ledger.arrive(WORLD, [0, 1])
        deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60))
        (found,) = read_outbox_findings()
        assert found["level"] == "wrong"
        assert "circuit open until" in found["says"]
        end_circuit(ledger)
        (found,) = read_outbox_findings()
        assert found["level"] == "wrong", "the channel has not worked since"
        assert "failure(s) in a row, the last at" in found["says"]
        assert "nothing was delivered ever: HTTP 500" in found["says"]
        assert name_channel(taken.url) in found["says"]
        assert "k3y" not in found["says"]
        ledger.rule(channels=())
        deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60))
    assert all(taken.url.partition("//")[2] not in one["says"] for one in read_outbox_findings()), (
        "no rule in force names it, and no message waits for it"
    )


def test_a_first_failure_is_a_note(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving(answers={"/1": (500, {})}) as taken:
        ledger.rule(channels=(taken.url + "/1",))
        ledger.arrive([SceneContent(()), SceneContent((cells(1, 1, 3, 3),))], [0, 1])
        deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60))
    (found,) = read_outbox_findings()
    assert (found["level"], found["says"].partition(": ")[2][:23]) == ("note", "1 failure(s) in a row, ")


def test_channels_name_only_rules_in_force_and_differ(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving(answers={"/hooks/one": (500, {}), "/hooks/two": (500, {})}) as taken:
        ledger.rule(channels=(taken.url + "/hooks/one", taken.url + "/hooks/two"))
        ledger.arrive(WORLD, [0, 1])
        deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60))
        rows = segwatch("alert", "channels")
        assert [row["rules"] for row in rows] == [["lakes, rule any"]] * 2
        one, two = (row["name"] for row in rows)
        assert one != two
        assert one.startswith(f"{name_channel(taken.url)}/hooks (")
        ledger.rule(channels=(taken.url + "/hooks/two",))
    rules = {row["name"]: row["rules"] for row in segwatch("alert", "channels")}
    assert rules == {one: [], two: ["lakes, rule any"]}


def test_names_show_the_port_but_no_part_of_a_path_that_may_be_a_key() -> None:
    alone = "https://hooks.example.org:8443/services/T01/B02/s3cr3t"
    assert name_channels([alone]) == {alone: "hooks.example.org:8443"}
    names = name_channels([alone, alone + "x", "http://user:pw@127.0.0.1:9912/swordfish", "apprise:duty"])
    assert len(set(names.values())) == 4
    assert all(one not in " ".join(names.values()) for one in ("T01", "s3cr3t", "pw", "swordfish"))
