"""Channels are checked when messages are sent: what the watch in force does not name gets none."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from segwatch.db import outbox, watches
from segwatch.flows.alerting.courier import DeliveryCounts, deliver_outbox
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import load_settings
from segwatch.flows.doctor import checks
from segwatch.flows.doctor.gathering import gather
from segwatch.geo.types.watch import Digest, Escalation
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.receiving import receiving
from tests.support.serving import running

WORLD = [SceneContent(()), SceneContent(tuple(cells(1.2 * k, 1, 1.2 * k + 0.9, 3) for k in range(6)))]


def deliver(ledger: Ledger) -> DeliveryCounts:
    return deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60))


def states(ledger: Ledger) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    query = "SELECT channel, state, count(*) AS n FROM segwatch.delivery GROUP BY 1, 2"
    for row in ledger.rows(query):
        found.setdefault(row["channel"].rsplit("/", 1)[-1], {})[row["state"]] = row["n"]
    return found


def test_a_removed_channel_gets_nothing_and_what_waited_for_it_is_withdrawn_and_counted(
    ledgers: Any, database: Database
) -> None:
    ledger: Ledger = ledgers()
    with receiving() as taken:
        kept, removed = taken.url + "/kept", taken.url + "/removed"
        ledger.rule(channels=(kept, removed))
        ledger.arrive(WORLD, [0, 1])
        ledger.rule(channels=(kept,))
        done = deliver(ledger)
        assert (done.delivered, done.withdrawn, done.failed) == (6, 6, 0)
        assert set(taken.paths) == {"/kept"}
        assert states(ledger) == {"kept": {"delivered": 6}, "removed": {"withdrawn": 6}}
        (row,) = ledger.rows("SELECT DISTINCT last_error FROM segwatch.delivery WHERE state = 'withdrawn'")
        assert row["last_error"] == "rule any of watch lakes no longer names the channel"
        (alert,) = ledger.rows(
            "SELECT sum(deliveries_withdrawn) AS n, count(delivered_at) AS told FROM watch.alerts"
        )
        assert (alert["n"], alert["told"]) == (6, 6)
        findings = checks.check(gather(load_settings(database_url=database.url())))
        assert any(one.about == "outbox" and "6 message(s) were withdrawn" in one.says for one in findings)
        with ledger.engine.begin() as conn:
            assert outbox.replay(conn) == 0, "it is not named yet"
        ledger.rule(channels=(kept, removed))
        assert deliver(ledger).delivered == 0, "nothing comes back by itself"
        with ledger.engine.begin() as conn:
            assert outbox.replay(conn) == 6
        assert deliver(ledger).delivered == 6
    assert taken.paths.count("/removed") == 6


def _another_address(ledger: Ledger, url: str) -> None:
    ledger.rule(channels=(url + "/new",))


def _another_rule(ledger: Ledger, url: str) -> None:
    ledger.rule(name="renamed")


def _no_rule(ledger: Ledger, url: str) -> None:
    with ledger.engine.begin() as conn:
        watches.apply(conn, replace(watches.load_current(conn, "lakes").watch, rules=()))


def _no_watch(ledger: Ledger, url: str) -> None:
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.watch_head SET name = 'archived'"))


@pytest.mark.parametrize("change", [_another_address, _another_rule, _no_rule, _no_watch])
def test_other_ways_to_lose_a_channel(ledgers: Any, change: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving() as taken:
        ledger.rule(channels=(taken.url + "/old",))
        ledger.arrive(WORLD, [0, 1])
        change(ledger, taken.url)
        assert deliver(ledger).withdrawn == 6
        assert taken.requests == 0
    assert states(ledger) == {"old": {"withdrawn": 6}}


def test_digests_escalations_and_retractions_follow_the_watch_in_force(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving() as taken:
        ledger.rule(channels=(taken.url + "/digest",), digest=Digest())
        ledger.arrive(WORLD, [0, 1])
        with ledger.engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.delivery SET digest_at = clock_timestamp()"))
        escalation = Escalation(1.0, (taken.url + "/boss",))
        ledger.rule(channels=(taken.url + "/now",), digest=None, escalation=escalation)
        assert deliver(ledger).withdrawn == 6
        assert taken.requests == 0
        world = [*WORLD, WORLD[1], SceneContent(())]
        ledger.arrive(world, [2])
        deliver(ledger)
        assert taken.requests == 0, "what follows an alert goes where the alert went"
        ledger.arrive(world, [3])
        deliver(ledger)
        assert taken.paths.count("/now") == 6
        with ledger.engine.begin() as conn:
            conn.execute(
                text("UPDATE segwatch.alert SET escalate_at = clock_timestamp() WHERE escalate_at > now()")
            )
        ledger.rule(channels=(taken.url + "/now",), escalation=None)
        assert deliver(ledger).withdrawn == 6
        assert "/boss" not in taken.paths
        ledger.rule(channels=(taken.url + "/other",))
        ledger.arrive({3: WORLD[1]}, [3], version=1)
        deliver(ledger)
    assert taken.paths.count("/now") == 6, "what it was told is not retracted there"


def test_a_channel_that_is_removed_while_messages_are_sent_gets_no_more_of_them(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    got: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            got.append(self.path)
            begun.set()
            assert go_on.wait(120)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with running(Slow) as url:
        ledger.rule(channels=(url + "/removed",))
        many = [
            SceneContent(tuple(cells(0.5 * k, y, 0.5 * k + 0.4, y + 1) for k in range(12) for y in (1, 3, 5)))
        ]
        ledger.arrive([SceneContent(()), *many], [0, 1])
        sending = threading.Thread(target=lambda: deliver(ledger))
        sending.start()
        assert begun.wait(120)
        ledger.rule(channels=())
        time.sleep(0.2)
        go_on.set()
        sending.join(120)
    assert len(got) <= 8, "those on their way, and no other"
    counts = states(ledger)["removed"]
    assert counts == {"delivered": len(got), "withdrawn": 36 - len(got)}


def test_a_receiver_that_is_out_for_days_gets_its_messages_when_it_is_back(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    answers: dict[str, tuple[int, dict[str, str]]] = {"/out": (503, {})}
    with receiving(answers=answers) as taken:
        ledger.rule(channels=(taken.url + "/out",))
        ledger.arrive(WORLD, [0, 1])
        for _ in range(3):
            with ledger.engine.begin() as conn:
                conn.execute(
                    text(
                        "UPDATE segwatch.delivery SET tried_since = tried_since - interval '9 days',"
                        " next_attempt_at = clock_timestamp()"
                    )
                )
                conn.execute(text("UPDATE segwatch.channel SET resting_until = NULL"))
            assert deliver(ledger).failed
        assert states(ledger) == {"out": {"pending": 6}}
        answers.clear()
        with ledger.engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.delivery SET next_attempt_at = clock_timestamp()"))
            conn.execute(text("UPDATE segwatch.channel SET resting_until = NULL"))
        assert deliver(ledger).delivered == 6
    assert len(taken.messages) == 6


def test_an_archived_watch_is_ended_and_gets_no_message(
    ledgers: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    ledger: Ledger = ledgers()
    with receiving() as taken:
        ledger.rule(channels=(taken.url + "/old",))
        ledger.arrive(WORLD, [0, 1])
        done = CliRunner().invoke(app, ["watch", "archive", "lakes"])
        assert "lakes: archived, 6 pending message(s) and 0 pending scene(s) withdrawn" in done.stdout
        assert (deliver(ledger).delivered, taken.requests) == (0, 0)
    listed = CliRunner().invoke(app, ["watch", "list"]).stdout
    assert "lakes" in listed
    assert "archived" in listed
    assert CliRunner().invoke(app, ["watch", "archive", "rivers"]).exit_code == 1
    with ledger.engine.connect() as conn:
        ended = watches.load_current(conn, "lakes").watch
    assert (ended.schedule, ended.rules) == (None, ())


def test_pending_scenes_of_an_archived_watch_are_withdrawn_until_it_resumes(
    ledgers: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, [0, 1])
    with ledger.engine.connect() as conn:
        file = watches.load_current(conn, "lakes").watch
    ledger.find([2])
    ledger.find([1], version=1)  # reprocessed: what the first version showed stays in force
    before = ledger.rows("SELECT * FROM watch.objects_now ORDER BY track_id")
    states = "SELECT DISTINCT state, reason FROM watch.coverage WHERE state <> 'observed' ORDER BY state"
    done = CliRunner().invoke(app, ["watch", "archive", "lakes", "--json"])
    assert json.loads(done.stdout)["scenes_withdrawn"] == 2
    assert [row["state"] for row in ledger.rows(states)] == ["failed", "skipped"]
    assert {row["reason"] for row in ledger.rows(states)} == {
        "withdrawn: the watch was archived before the scene was observed"
    }
    ledger.track()
    assert ledger.rows("SELECT * FROM watch.objects_now ORDER BY track_id") == before
    assert (
        json.loads(CliRunner().invoke(app, ["watch", "archive", "lakes", "--json"]).stdout)[
            "scenes_withdrawn"
        ]
        == 0
    )
    with ledger.engine.begin() as conn:
        watches.apply(conn, file)
    assert ledger.rows(states) == [{"state": "pending", "reason": None}]
    for _ in range(2):
        ledger.answer_leased([*WORLD, WORLD[1]])
    ledger.track()
    assert ledger.rows("SELECT count(*) AS n FROM watch.coverage WHERE superseded_at IS NULL") == [{"n": 3}]
    assert ledger.rows(states) == []


def test_an_end_long_past_is_told_and_withdraws_pending_messages(
    ledgers: Any, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    ledger: Ledger = ledgers()
    document = {
        "version": 1, "name": "lakes", "instruction": "segment the water", "area": {"bbox": [0, 0, 0.01, 0.01]},
        "source": {"profile": "rgb-cog", "catalog": "http://127.0.0.1:9/"},
        "start": "2016-01-01T00:00:00Z", "end": "2017-01-01T00:00:00Z",
    }  # fmt: skip
    (tmp_path / "lakes.yaml").write_text(json.dumps(document), encoding="utf-8")
    with receiving() as taken:
        ledger.rule(channels=(taken.url + "/old",))
        ledger.arrive(WORLD, [0, 1])
        done = CliRunner().invoke(app, ["apply", str(tmp_path / "lakes.yaml")])
    assert "its end 2017-01-01 00:00 is more than 7 days past" in done.stderr
    assert "6 pending message(s) were withdrawn" in " ".join(done.stderr.split())
    assert states(ledger) == {"old": {"withdrawn": 6}}
