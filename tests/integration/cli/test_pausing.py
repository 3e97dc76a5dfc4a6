"""Pausing a watch stops its work everywhere, resuming it loses nothing, and who did what is kept."""

from __future__ import annotations

import csv
import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from segwatch.db import ledger as leases
from segwatch.db import watches
from segwatch.flows.cli.app import app
from segwatch.flows.config import watchfile
from segwatch.flows.config.settings import load_settings
from segwatch.flows.discover import discover
from segwatch.flows.doctor import checks
from segwatch.flows.doctor.gathering import gather
from segwatch.flows.errors import WatchPaused
from segwatch.flows.observe import observe
from segwatch.flows.pipeline.discovery import discover_watch
from tests.conftest import Database
from tests.invariants.conftest import MODEL, Ledger, SceneContent, cells
from tests.support.stac_store import Store, stac_store

WATCH = {
    "version": 1, "name": "shore", "instruction": "segment the water", "start": "2024-01-01T00:00:00Z",
    "area": {"bbox": [0.5, 0.5, 0.51, 0.51]}, "schedule": "0 5 * * *", "source": {"profile": "rgb-cog"},
}  # fmt: skip


def segwatch(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def table(*arguments: str) -> list[dict[str, str]]:
    done = segwatch(*arguments)
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(done.stdout.splitlines(), delimiter="\t"))


@pytest.fixture
def paused(ledgers: Any, commands: Database) -> Ledger:
    """A ledger with one observed and one pending scene whose watch is paused."""
    made: Ledger = ledgers()
    made.arrive([SceneContent((cells(1, 1, 3, 3),))], [0])
    made.find([1])
    done = segwatch("watch", "pause", "lakes", "--note", "dry season", "--by", "ada")
    assert (done.exit_code, "lakes: paused" in done.stdout) == (0, True), done.output
    return made


def test_a_paused_watch_does_no_work_and_every_window_says_so(paused: Ledger, commands: Database) -> None:
    settings = load_settings(database_url=commands.url())
    with paused.engine.begin() as conn:
        assert leases.lease(conn, worker="w", seconds=60, model_version=MODEL) is None
        assert not leases.has_waiting(conn, model_version=MODEL)
        assert leases.list_free(conn, model_version=MODEL) == []
    with pytest.raises(
        WatchPaused, match=r"lakes is paused by ada since .*dry season.*segwatch watch resume lakes"
    ):
        discover_watch(paused.engine, "lakes", model_version=MODEL)
    for flow in (observe, discover):
        state: Any = flow.fn("lakes")
        assert (state.name, "lakes is paused" in state.message) == ("Skipped", True)
    run = segwatch("run", "lakes")
    assert (run.exit_code, "segwatch watch resume lakes" in run.output) == (1, True)
    assert [row["state"] for row in table("watch", "list")] == ["paused"]
    answers = table("why-not", "lakes", "-10.001", "50.001")
    assert answers[-1]["answer"] == "paused"
    waits = {row["state"]: row["reason"] for row in table("coverage", "lakes")}
    assert waits["pending"].startswith("the watch is paused since")
    (row,) = paused.rows("SELECT state FROM watch.watches")
    assert row["state"] == "paused"
    found = checks.check(gather(settings))
    assert any("watch lakes is paused" in one.says and one.level == "note" for one in found)
    assert not any(one.about == "catalogs" and one.level == "wrong" for one in found)


def test_pausing_and_resuming_are_repeatable_and_kept(paused: Ledger) -> None:
    again = json.loads(segwatch("watch", "pause", "lakes", "--by", "bob", "--json").stdout)
    assert (again["created"], again["by"]) == (False, "ada"), "the first one holds"
    for created in (True, False):
        done = json.loads(segwatch("watch", "resume", "lakes", "--json").stdout)
        assert (done["state"], done["created"]) == ("resumed", created)
    shown = json.loads(segwatch("watch", "show", "lakes", "--json").stdout)
    assert shown["state"] == "active"
    assert [(row["action"], row["person"], row["note"]) for row in shown["history"]] == [
        ("paused", "ada", "dry season"),
        ("resumed", getpass.getuser(), ""),
    ]
    assert paused.lease("w").observations, "what was pending is taken up again"
    assert "did you mean lakes?" in segwatch("watch", "pause", "laks").output


def test_an_archived_watch_is_readable_and_takes_no_pause(paused: Ledger) -> None:
    before = paused.rows("SELECT count(*) AS n FROM watch.object_history")
    for created in (True, False):
        done = json.loads(segwatch("watch", "archive", "lakes", "--by", "eve", "--json").stdout)
        assert (done["by"], done["created"]) == ("eve", created)
    assert [row["state"] for row in table("watch", "list")] == ["archived"]
    assert paused.rows("SELECT count(*) AS n FROM watch.object_history") == before
    for action in ("pause", "resume"):
        refused = segwatch("watch", action, "lakes")
        assert (refused.exit_code, "was archived by eve" in refused.output) == (1, True)


def test_scenes_of_the_pause_are_found_after_it(engine: Engine, commands: Database, tmp_path: Path) -> None:
    store = Store()
    store.put("before", "2024-02-01T10:00:00Z")
    file = tmp_path / "shore.yaml"
    with stac_store(store) as url:
        file.write_text(json.dumps(WATCH | {"source": {"profile": "rgb-cog", "catalog": url}}))
        with engine.begin() as conn:
            watches.apply(conn, watchfile.load(file))
        assert discover_watch(engine, "shore", model_version=MODEL).queued == 1
        segwatch("watch", "pause", "shore")
        store.put("meanwhile", "2024-02-03T10:00:00Z")
        asked = store.requests
        with pytest.raises(WatchPaused):
            discover_watch(engine, "shore", model_version=MODEL)
        assert store.requests == asked, "the catalog is left alone"
        segwatch("watch", "resume", "shore")
        later = datetime(2027, 1, 1, tzinfo=UTC)
        assert discover_watch(engine, "shore", model_version=MODEL, now=later).queued == 1


def test_a_clone_is_the_same_watch_elsewhere(
    engine: Engine, commands: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rule = {
        "name": "grown", "kinds": ["grew"], "confidence": 0.5, "quiet": {"begin": "22:00", "end": "06:00"},
        "near": {"bbox": [0.5, 0.5, 0.6, 0.6], "distance_m": 50}, "digest": "hourly",
        "channels": ["https://hooks.example.org/a"],
        "escalate": {"after_minutes": 30, "channels": ["apprise:on-call"]},
    }  # fmt: skip
    source = {"profile": "sentinel2-l2a-earthsearch", "catalog": "https://stac.example.org"}
    text = json.dumps(
        WATCH | {"source": source, "rules": [rule], "tracking": {"gone_after": 3}, "targets": ["water"]}
    )
    (tmp_path / "shore.yaml").write_text(text)
    original = watchfile.load(tmp_path / "shore.yaml")
    with engine.begin() as conn:
        watches.apply(conn, original)
    done = segwatch("watch", "clone", "shore", "santiago", "--bbox", "-70.1,-33.5", "-70.0,-33.4")
    assert done.exit_code == 0, done.output
    assert "rules with near still name places of the original area" in " ".join(done.output.split())
    file = tmp_path / "santiago.yaml"
    assert file.stat().st_mode & 0o777 == 0o600, "channels may contain secrets"
    made = watchfile.load(file)
    assert made.area.bounds == (-70.1, -33.5, -70.0, -33.4)
    same = {"instruction", "profile", "catalog", "start", "schedule", "tracking", "rules", "priority"}
    assert {name for name in same if getattr(made, name) != getattr(original, name)} == set()
    assert (
        "as before"
        in segwatch("watch", "clone", "shore", "santiago", "--bbox", "-70.1,-33.5,-70.0,-33.4").output
    )
    file.write_text("mine")
    kept = segwatch("watch", "clone", "shore", "santiago")
    assert (kept.exit_code, file.read_text()) == (1, "mine")
    printed = segwatch("watch", "clone", "shore", "quito", "--out", "-")
    assert "name: quito" in printed.stdout
    assert not (tmp_path / "-").exists()
    itself = segwatch("watch", "clone", "shore", "shore")
    assert (itself.exit_code, "another name" in itself.output) == (1, True)
    with engine.connect() as conn:
        assert watches.list_names(conn) == ["shore"], "nothing is stored"
