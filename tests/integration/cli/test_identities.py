"""Ids are whole in pipes and found by their first digits, whatever they identify; terminals get tables."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from segwatch.db import identities, names
from segwatch.flows.cli.app import app
from tests.conftest import Database
from tests.invariants.conftest import Ledger


def segwatch(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def rows(*arguments: str) -> list[dict[str, str]]:
    done = segwatch(*arguments)
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(done.stdout.splitlines(), delimiter="\t"))


def on_a_terminal(*arguments: str, **more: str) -> str:
    """What a command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "TERM": "xterm"} | more
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "segwatch.flows.cli", *arguments],
        stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environment,
    ) as command:  # fmt: skip
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal's other end was closed
                break
            if not part:
                break
            written += part
        assert command.wait(300) == 0, written
    os.close(ours)
    return written.decode()


def test_every_kind_of_id_is_found_by_its_first_digits(ledger: Ledger, commands: Database) -> None:
    with ledger.engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO segwatch.event (id, source, external_id, revision, kind, title, properties)"
                " VALUES ('eeeeeeee-1111-5111-8111-111111111111', 'usgs', 'x1', '1', 'flood', 'A flood', '{}')"
            )
        )
        conn.execute(
            text(
                "INSERT INTO segwatch.run (id, flow, worker, lease_until)"
                " VALUES ('dddddddd-1111-4111-8111-111111111111', 'run', 'w', clock_timestamp())"
            )
        )
    segwatch("token", "create", "ada", "--all-watches")
    whole = {
        "object": "SELECT track_id FROM watch.objects_now",
        "change": "SELECT change_id FROM watch.changes WHERE NOT baseline",
        "alert": "SELECT alert_id FROM watch.alerts",
        "scene": "SELECT id FROM segwatch.scene",
        "observation": "SELECT observation_id FROM watch.coverage",
        "event": "SELECT id FROM segwatch.event",
        "run": "SELECT id FROM segwatch.run",
        "token": "SELECT id FROM segwatch.access_token",
    }
    for kind, query in whole.items():
        with ledger.engine.connect() as conn:
            identity = str(conn.execute(text(query)).scalars().first())
        for given in (identity, identity.upper(), identity.replace("-", ""), identity[:11]):
            shown = json.loads(segwatch("show", given, "--kind", kind, "--json").stdout)
            assert (shown["type"], identity in shown.values()) == (kind, True)
    assert {kind.value for kind in identities.Kind} == whole.keys()


def test_commands_take_first_digits_and_refuse_too_few(ledger: Ledger, commands: Database) -> None:
    (alert,) = rows("alert", "list", "lakes")
    assert str(UUID(alert["alert"])) == alert["alert"], "whole in a pipe"
    assert alert["raised"].endswith("Z")
    assert segwatch("alert", "ack", alert["alert"][:6]).stdout.startswith(alert["alert"])
    assert json.loads(segwatch("alert", "resolve", alert["alert"][:6], "--json").stdout)["mark"] == "resolved"
    assert rows("alert", "list", "lakes")[0]["status"].startswith("resolved, ")
    (found,) = ledger.rows("SELECT track_id FROM watch.objects_now")
    assert segwatch("review", "confirm", str(found["track_id"])[:5], "--why", "seen").exit_code == 0
    for given, words in (
        ("abc", "its first 4 or more digits"),
        ("nonsense", "is no id of an alert"),
        ("00000000", f"no alert has an id that begins with 00000000; the nearest: {alert['alert']}"),
    ):
        done = segwatch("alert", "ack", given)
        assert (done.exit_code, words in " ".join(done.output.split())) == (1, True), done.output


def test_ids_that_begin_alike_are_listed(ledger: Ledger, commands: Database) -> None:
    with ledger.engine.begin() as conn:
        for last in range(12):
            conn.execute(
                text(
                    "INSERT INTO segwatch.run (id, flow, worker, lease_until) VALUES (:id, :flow, 'w', now())"
                ),
                {"id": f"abcdabcd-1111-4111-8111-{last:012}", "flow": f"run{last}"},
            )
    done = segwatch("show", "abcdabcd")
    assert done.exit_code == 1
    assert "abcdabcd is the beginning of at least 11 ids; give more digits; they are:" in done.output
    assert done.output.count("run: run") == 10
    with ledger.engine.connect() as conn:
        conn.execute(text("SET enable_seqscan = off"))
        query = str(identities._IN_RANGE[identities.Kind.RUN]).replace(
            ":low", "'abcd0000-0000-0000-0000-000000000000'"
        )
        query = query.replace(":high", "'abcdffff-ffff-ffff-ffff-ffffffffffff'").replace(":most", "11")
        plan = "\n".join(conn.execute(text(f"EXPLAIN {query}")).scalars())
    assert "run_pk" in plan, "found by a range of the key, not by reading all"


def test_a_terminal_gets_a_table_and_a_pipe_values(ledger: Ledger, commands: Database) -> None:
    identity = str(rows("alert", "list", "lakes")[0]["alert"])
    shown = on_a_terminal("alert", "list", "lakes", NO_COLOR="1")
    assert identity[:8] in shown
    assert identity[:12] not in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert re.search(r"\x1b\[(3|4)[0-9]m", shown) is None, "no colours with NO_COLOR"
    piped = segwatch("coverage", "lakes")
    head, *lines = piped.stdout.splitlines()
    assert head.split("\t")[:2] == ["acquired", "state"]
    assert {line.count("\t") for line in lines} == {head.count("\t")}
    assert "\x1b" not in piped.stdout


@pytest.mark.parametrize("name", ["watches", "alerts", "objects", "tokens"])
def test_the_shell_completes_names_and_ids(ledger: Ledger, commands: Database, name: str) -> None:
    segwatch("token", "create", "lada", "--all-watches")
    found: list[Any] = getattr(names, f"list_{name}")(commands.url(), "la" if name == "tokens" else "")
    assert len(found) == 1
    if name != "watches":
        return
    environment = os.environ | {
        "_SEGWATCH_COMPLETE": "complete_bash", "COMP_WORDS": "segwatch coverage la", "COMP_CWORD": "2",
    }  # fmt: skip
    code = "import sys; sys.argv = ['segwatch']; from segwatch.flows.cli import main; main()"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["lakes"], done.stderr
    away = environment | {"SEGWATCH_DATABASE_URL": "postgresql://a:b@127.0.0.1:1/x"}
    done = subprocess.run(command, env=away, capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")
