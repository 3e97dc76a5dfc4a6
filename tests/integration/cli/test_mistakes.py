"""Ordinary mistakes at the command line: one clear message, exit status 1, and nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from prefect.context import refresh_global_settings_context
from psycopg import sql
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from segwatch.db import watches
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.embedded.ports import find_free_port
from segwatch.db.ledger import skip
from segwatch.flows.cli.app import app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells

WATCH = {
    "version": 1, "name": "shore", "instruction": "segment the water", "start": "2024-01-01T00:00:00Z",
    "area": {"bbox": [10.0, 45.0, 10.01, 45.01]}, "schedule": "0 5 * * *",
    "source": {"profile": "rgb-cog", "catalog": "https://stac.example.org"},
}  # fmt: skip
ABOUT_A_WATCH = (("coverage",), ("alert", "list"), ("review", "list"), ("upgrades",), ("why-not",))


@pytest.fixture(autouse=True)
def _ledger_of_this_test(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())


def segwatch(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def asking(command: tuple[str, ...], watch: str) -> list[str]:
    return [*command, watch, *(("--", "10", "50") if command == ("why-not",) else ())]


def refused(done: Result) -> str:
    """The message of a command that ended as mistakes do."""
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("start: 2024-02-30T00:00:00Z", ("start: ", "2024-02-30")),
        ('instruction: "segment \\0 the water"', ("instruction: ", "cannot be stored")),
        ('instruction: "segment \\e[2J the water"', ("instruction: ", "\\x1b acts on what follows it")),
        ('targets: ["wa\\u202eter"]', ("targets.0: ", "\\u202e acts on what follows it")),
        ("area: {geojson: {type: FeatureCollection, features: [1]}}", ("area.geojson: ", "not a GeoJSON")),
        ('rules: [{name: "a \\ud800"}]', ("rules.0.name: ", "cannot be stored")),
        ("targets: [a]\ntargets: [b]", ("targets is given twice, first on line",)),
        ("name: Große Seen", ("name: write small letters, digits and hyphens",)),
    ],
)
def test_a_wrong_watch_file_is_named_and_not_stored(
    tmp_path: Path, engine: Engine, wrong: str, words: tuple[str, ...]
) -> None:
    field = wrong.partition(":")[0]
    kept = {name: value for name, value in WATCH.items() if name != field}
    file = tmp_path / "shore.yaml"
    file.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in kept.items()) + wrong)
    said = refused(segwatch("apply", str(file)))
    for word in ("shore.yaml", *words):
        assert word in said
    with engine.connect() as conn:
        assert watches.list_names(conn) == []


@pytest.mark.parametrize("command", ABOUT_A_WATCH, ids=lambda one: one[0])
def test_nothing_about_a_watch_that_is_not_there_is_no_answer(ledgers: Any, command: tuple[str, ...]) -> None:
    ledgers()
    assert "no watch named 'typo'" in refused(segwatch(*asking(command, "typo")))
    nothing = segwatch(*asking(command, "lakes"))
    assert nothing.exit_code == 0, "it is there, though nothing happened"
    assert "None" not in nothing.output


@pytest.mark.parametrize("command", [("review", "list"), ("upgrades",), ("why-not",)], ids=lambda one: one[0])
def test_analysts_ask_the_views_alone(
    ledgers: Any, database: Database, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    ledgers()
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url("segwatch_analyst"))
    assert segwatch(*asking(command, "lakes")).exit_code == 0


@pytest.mark.parametrize("schema", ["none", "older"])
def test_a_schema_that_is_not_up_to_date_is_told_as_that(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, schema: str, tmp_path: Path
) -> None:
    name = f"test_{uuid4().hex[:12]}"
    cluster.ensure_database(name, "segwatch_owner")
    try:
        if schema == "older":
            with psycopg.connect(cluster.info().superuser_url(name), autocommit=True) as conn:
                conn.execute("CREATE SCHEMA segwatch; CREATE TABLE segwatch.watch_head (watch text)")
                conn.execute(
                    "GRANT USAGE ON SCHEMA segwatch TO PUBLIC; GRANT SELECT ON segwatch.watch_head TO PUBLIC"
                )
        monkeypatch.setenv("SEGWATCH_DATABASE_URL", cluster.info().url_for("segwatch_worker", database=name))
        file = tmp_path / "shore.yaml"
        file.write_text(json.dumps(WATCH))
        commands = [asking(command, "lakes") for command in ABOUT_A_WATCH]
        for arguments in (
            *commands,
            ["apply", str(file)],
            ["retry", "lakes"],
            ["event", "list"],
            ["report", "lakes"],
        ):
            assert "schema is not up to date; run: segwatch db up" in refused(segwatch(*arguments))
        told = segwatch("db", "status")
        assert "run: segwatch db up" in told.output
    finally:
        with psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:hunter2@127.0.0.1:5432x/x",
        "postgresql://someone:hunter2@127.0.0.1:hunter2/x",
        "hunter2",
    ],
)
@pytest.mark.parametrize("command", [("coverage", "lakes"), ("db", "status"), ("db", "psql")])
def test_a_database_url_that_is_none(
    monkeypatch: pytest.MonkeyPatch, url: str, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", url)
    said = refused(segwatch(*command))
    assert "the database URL" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("command", ["status", "psql"])
def test_an_option_that_no_database_has(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1/x?nonsense=1")
    said = refused(segwatch("db", command))
    assert 'the database URL: invalid connection option "nonsense"' in said
    assert "hunter2" not in said


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Prefect server that is not there."""
    address = f"http://127.0.0.1:{find_free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", address)
    refresh_global_settings_context()
    yield address
    monkeypatch.undo()
    refresh_global_settings_context()


def test_a_prefect_server_that_does_not_answer(nobody: str, tmp_path: Path, engine: Engine) -> None:
    file = tmp_path / "shore.yaml"
    file.write_text(json.dumps(WATCH))
    for arguments in (("deploy",), ("apply", str(file))):
        said = refused(segwatch(*arguments))
        assert f"PREFECT_API_URL={nobody} does not answer" in said
        assert "prefect server start" in said
    with engine.connect() as conn:
        assert watches.list_names(conn) == ["shore"], "stored is stored, also when scheduling fails"


@pytest.mark.parametrize("hours", ["1e12", "87601", "nan", "inf", "0"])
def test_a_snooze_has_a_sensible_length(hours: str) -> None:
    done = segwatch("alert", "snooze", str(uuid4()), "--hours", hours)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 2
    assert "--hours" in done.output


def test_words_that_look_like_markup_are_shown_as_they_are(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    ledger.instruct("see [/docs]")
    world = [SceneContent((cells(1, 1, 4, 4),))]
    ledger.arrive(world, [0])
    ledger.instruct("the [red] ones")
    ledger.arrive(world, [0])
    (found,) = ledger.rows("SELECT track_id FROM watch.objects_now")
    ledger.find([1])
    leased = ledger.lease("w")
    with ledger.engine.begin() as conn:
        skip(conn, leased.observations[0].id, "w", "no asset [/vsicurl/x]")
    assert (
        segwatch("review", "confirm", str(found["track_id"]), "--why", "as [/told]", "--by", "[b]").exit_code
        == 0
    )

    def shown(*arguments: str) -> str:
        done = segwatch(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "no asset [/vsicurl/x]" in shown("coverage", "lakes")
    reviewed = shown("review", "list", "lakes")
    assert "as [/told]" in reviewed
    assert "[b]" in reviewed
    changed = shown("upgrades", "lakes")
    assert "see [/docs]" in changed
    assert "the [red] ones" in changed


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({}, ()),
        ({"min_polygon_m2": 50}, ("min_polygon_m2 50 is less than one pixel of the source (100 m²)",)),
        ({"min_polygon_m2": 5e6}, ("min_polygon_m2 5e+06 is more than the whole area",)),
        ({"tracking": {"min_change_m2": 1e7}}, ("tracking.min_change_m2 1e+07 is more than the whole area",)),
    ],
    ids=["fine", "below a pixel", "above the area", "a change above the area"],
)
def test_a_watch_tells_what_it_does_not_report(
    tmp_path: Path, more: dict[str, Any], warned: tuple[str, ...]
) -> None:
    file = tmp_path / "shore.yaml"
    file.write_text(json.dumps(WATCH | more))
    done = segwatch("apply", str(file))
    assert done.exit_code == 0, done.output
    smallest = {50: "100", 5e6: "5,000,000"}.get(more.get("min_polygon_m2", 0), "500")
    assert f"Not reported: objects under {smallest} m²; growth or shrinkage under" in done.output
    # its catalog does not answer here, which is one more
    assert done.output.count("warning:") == len(warned) + 1
    for words in warned:
        assert words in done.output
