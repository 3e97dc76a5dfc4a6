"""Couriers, trackers and whole runs that are killed or stopped: nothing is lost, and nothing is silent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from segwatch.db import events, series, watches
from segwatch.db.stuck import read
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.segmenters import InstructionSegmenter
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support import at_work
from tests.support.colour_segmenter import Well
from tests.support.hanging import Hanging
from tests.support.images import textured
from tests.support.paths import ROOT
from tests.support.serving import running, serving_files
from tests.support.small_queue import queue

LAKE = cells(1, 1, 3, 3)
LEASE_SECONDS = 3.0
#: An image, and at the root a catalog without any item.
FILES = {"/a.tif": textured(10, 20, 30), "/": b'{"type": "FeatureCollection", "features": []}'}


class Receiver:
    """A webhook that answers nothing until it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.asked, self.answers = threading.Event(), threading.Event()
        self.taken: list[str] = []


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            made.asked.set()
            made.answers.wait(300)
            made.taken.append(self.headers["webhook-id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with running(Handler) as url:
        made.url = f"{url}/hook"
        try:
            yield made
        finally:
            made.answers.set()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def segwatch_run(
    database: Database, folder: Any, segmenter: type[InstructionSegmenter]
) -> Iterator[subprocess.Popen[str]]:
    """``segwatch run lakes`` in a process of its own."""
    environment = os.environ | {
        "SEGWATCH_DATABASE_URL": database.url(),
        "SEGWATCH_SEGMENTER": f"{segmenter.__module__}:{segmenter.__name__}",
        "SEGWATCH_LEASE_SECONDS": str(LEASE_SECONDS),
        "SEGWATCH_LINGER_SECONDS": "0",
        "SEGWATCH_HOME": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    argv = [sys.executable, "-P", "-m", "segwatch.flows.cli", "run", "lakes", "--json"]
    # tests that run in the background ignore both, and so would their children
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)}
    made = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for number, handler in before.items():
        signal.signal(number, handler)
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


def alert_everything(engine: Engine, channel: str) -> None:
    """The watch of the small queue alerts of all that is there."""
    rule = AlertRule("any", tuple(ChangeKind), channels=(channel,), include_baseline=True)
    with engine.begin() as conn:
        made = watches.apply(conn, replace(watches.load_current(conn, "lakes").watch, rules=(rule,)))
        conn.execute(text("UPDATE segwatch.observation SET revision_id = :id"), {"id": made.revision_id})


def held(engine: Engine) -> int:
    """Scenes and messages that are leased."""
    query = (
        "SELECT (SELECT count(*) FROM segwatch.observation WHERE lease_worker IS NOT NULL)"
        " + (SELECT count(*) FROM segwatch.delivery WHERE lease_worker IS NOT NULL)"
    )
    with engine.connect() as conn:
        return int(conn.execute(text(query)).scalar_one())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_stop_gives_its_scenes_back_and_ends(
    database: Database, engine: Engine, tmp_path: Any, number: signal.Signals
) -> None:
    """Its segmenter never comes back from a library's call."""
    with serving_files(FILES) as files:
        queue(engine, files.url, Hanging.version, count=2)
        with segwatch_run(database, tmp_path, Hanging) as process:
            until(lambda: held(engine) == 2)
            process.send_signal(number)
            begun = time.monotonic()
            _, said = process.communicate(timeout=300)
    assert time.monotonic() - begun < 15
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}; released: 2 observation(s)" in said
    with engine.connect() as conn:
        rows = conn.execute(text("SELECT state, attempts, lease_until FROM segwatch.observation")).all()
        outcome = conn.execute(text("SELECT outcome FROM segwatch.run")).scalar_one()
    assert [tuple(row) for row in rows] == [("pending", 0, None)] * 2, "stopping is no attempt"
    assert outcome == "stopped"


def test_what_a_killed_run_had_to_send_is_sent_by_the_next_one(
    database: Database, engine: Engine, tmp_path: Any
) -> None:
    with serving_files(FILES) as files, receiver() as hook:
        queue(engine, files.url, Well.version)
        alert_everything(engine, hook.url)
        with segwatch_run(database, tmp_path, Well) as first:
            assert hook.asked.wait(300)
            first.kill()
            first.wait()
        assert held(engine) == 1
        hook.answers.set()
        with segwatch_run(database, tmp_path, Well) as second:
            out, said = second.communicate(timeout=300)
    report = json.loads(out)
    assert report["deliver"] == {"delivered": 1, "failed": 0, "held": [], "withdrawn": 0}, said
    assert report["left"] == {"pending": []}
    assert len(set(hook.taken)) == 1


def test_a_run_that_is_told_to_stop_gives_its_messages_back(
    database: Database, engine: Engine, tmp_path: Any
) -> None:
    with serving_files(FILES) as files, receiver() as hook:
        queue(engine, files.url, Well.version)
        alert_everything(engine, hook.url)
        with segwatch_run(database, tmp_path, Well) as process:
            assert hook.asked.wait(300)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGINT
    assert "released: 1 message(s)" in said or "released: nothing" in said
    assert held(engine) == 0


def test_a_courier_that_is_alive_keeps_its_messages_and_is_named(ledger: Ledger, database: Database) -> None:
    environment = {"SEGWATCH_DATABASE_URL": database.url(), "SEGWATCH_LEASE_SECONDS": str(LEASE_SECONDS)}
    with receiver() as hook:
        with ledger.engine.begin() as conn:
            change = text("UPDATE segwatch.delivery SET channel = CAST(:url AS text) || right(channel, 1)")
            conn.execute(change, {"url": hook.url})
        waiting = ledger.rows("SELECT id FROM segwatch.delivery WHERE state = 'pending'")
        assert waiting
        with at_work.process("deliver", environment=environment) as courier:
            assert hook.asked.wait(300)
            done = deliver_outbox(ledger.engine, load_settings(lease_seconds=LEASE_SECONDS))
            assert done.delivered == 0, "its leases are renewed"
            assert "message(s) held by deliver-" in done.held[0]
            courier.send_signal(signal.SIGSTOP)
            hook.answers.set()
            until(
                lambda: (
                    deliver_outbox(ledger.engine, load_settings(lease_seconds=LEASE_SECONDS)).delivered > 0
                )
            )
    assert ledger.rows("SELECT id FROM segwatch.delivery WHERE state = 'pending'") == []


def test_a_series_that_a_stopped_tracker_holds_is_told_of(ledger: Ledger, database: Database) -> None:
    ledger.answer({2: SceneContent(())}, [2])
    (row,) = ledger.rows("SELECT id FROM segwatch.series")
    environment = {"SEGWATCH_DATABASE_URL": database.url()}
    with at_work.process("track", str(row["id"]), environment=environment) as tracker:
        tracker.send_signal(signal.SIGSTOP)
        done = track_ready(ledger.engine)
        assert (done.observations, done.skipped) == (0, 1)
        (reason,) = done.reasons
        assert reason.startswith(f"watch lakes: another tracker holds series {row['id']} (session ")
        with ledger.engine.connect() as conn:
            (stuck,) = read(conn).held_series
        assert (stuck.watch, f"session {stuck.pid} " in reason) == ("lakes", True)
    until(lambda: track_ready(ledger.engine).observations == 1)


#: What segwatch locked once; any user of a database can take any advisory lock.
FORMER_LOCKS = (
    "SELECT pg_advisory_lock(hashtextextended(CAST(%(series)s AS text), 0))",
    "SELECT pg_advisory_lock(hashtextextended('segwatch.observe ' || %(revision)s, 0))",
    "SELECT pg_advisory_lock(hashtextextended('segwatch.digest', 0))",
    "SELECT pg_advisory_lock(hashtextextended('segwatch.event', 0))",
    "SELECT pg_advisory_lock(7309845221)",
)


def test_a_reader_can_stop_nothing_by_locks(ledger: Ledger, database: Database) -> None:
    ledger.answer({2: SceneContent((LAKE,))}, [2])
    (row,) = ledger.rows("SELECT id FROM segwatch.series")
    url = database.url("segwatch_analyst").replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as reader:
        for lock in FORMER_LOCKS:
            reader.execute(lock, {"series": str(row["id"]), "revision": str(ledger.revision)})
        for table in ("series", "mutex", "run", "observation", "delivery"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"SELECT * FROM segwatch.{table} FOR UPDATE")
        assert track_ready(ledger.engine).observations == 1
        with ledger.engine.begin() as conn:
            conn.execute(text("SET LOCAL lock_timeout = '2s'"))
            assert series.try_lock(conn, row["id"])
            assert events.load_events(conn) == []


def test_no_code_waits_for_a_lock_that_anybody_can_take() -> None:
    folders = ("db", "flows", "geo", "model")
    files = [one for folder in folders for one in (ROOT / folder).rglob("*") if one.suffix in {".py", ".sql"}]
    assert len(files) > 100
    assert [
        one.name for one in files if "pg_advisory" in one.read_text() or "pg_try_advisory" in one.read_text()
    ] == []


FORGED: tuple[dict[str, Any], ...] = (
    {"kind": "disappeared"},
    {"type": "segwatch.alert.retracted"},
    {"type": "segwatch.alert.escalated"},
    {"alert_id": "00000000-0000-0000-0000-000000000000"},
    {"alert_id": "x"},
    {"watch": "other"},
    {"valid_at": "yesterday or so"},
    {"track_id": None},
)


def test_a_real_notification_can_be_told_from_a_forged_one(ledger: Ledger, database: Database) -> None:
    url = database.url("segwatch_analyst").replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as reader:

        def found(payload: str) -> list[Any]:
            rows = reader.execute("SELECT alert_id, kind, retracted_at FROM watch.notified(%s)", (payload,))
            return rows.fetchall()

        reader.execute("LISTEN segwatch_alert")
        ledger.arrive({2: SceneContent((LAKE, cells(4, 4, 6, 6)))}, [2])
        (real,) = reader.notifies(timeout=60, stop_after=1)
        hint = json.loads(real.payload)
        assert [(str(one), kind) for one, kind, _ in found(real.payload)] == [(hint["alert_id"], "appeared")]
        for change in FORGED:
            assert found(json.dumps(hint | change)) == [], change
        for payload in ("", "null", "[]", "{", '"x"', "{}", "1e400", "\\u0000"):
            assert found(payload) == [], payload
        assert found(real.payload[:-1] + f', "alert_id": "{hint["change_id"]}"}}') == [], (
            "the last one counts"
        )
        ledger.arrive({2: SceneContent((LAKE,))}, [2], version=1)
        (retracted,) = reader.notifies(timeout=60, stop_after=1)
        ((_, _, since),) = found(retracted.payload)
        assert since is not None
