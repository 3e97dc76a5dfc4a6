"""A watch's model is adapted to what people judged, switched to by a person, and rolled back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import model_switches, watches
from segwatch.db.watches import Applied
from segwatch.flows.cli import app
from segwatch.flows.cli.learning import report_words
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.inference import watch_models
from segwatch.flows.inference.drain import drain
from segwatch.flows.pipeline.tracking import track_ready
from tests.conftest import Database
from tests.support.judged_scene import COLUMNS, ROWS, make_judged_ledger, serving_picture, shrink

MODELS = "SELECT DISTINCT model FROM watch.objects_now"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of the picture."""
    with serving_picture() as found:
        yield found


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FlowSettings:
    """Settings of a worker that ends when nothing is left, with the shipped model."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGWATCH_EVIDENCE", "none")
    monkeypatch.setenv("SEGWATCH_LINGER_SECONDS", "0")
    monkeypatch.setenv("SEGWATCH_DEVICE", "cpu")
    return load_settings()


def run(*words: str, status: int = 0) -> Any:
    done = CliRunner().invoke(app, ["model", *words])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if "--json" in words else done.output


def _models(engine: Engine) -> set[str]:
    with engine.connect() as conn:
        return set(conn.execute(text(MODELS)).scalars())


def _die_at_step_3(words: str) -> None:
    """End the command as a kill does, once the third step is saved."""
    if words.startswith("step 3"):
        raise RuntimeError("killed")


def test_a_model_is_adapted_switched_to_and_rolled_back(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    watch = make_judged_ledger(engine, settings, url)
    out, work = tmp_path / "adapted", tmp_path / "adapted.work"
    steps = ("--steps", "6", "--every", "3", "--tiles", "9", "--json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segwatch.flows.cli.learning.say", _die_at_step_3)
        CliRunner().invoke(app, ["model", "adapt", "lakes", "--out", str(out), *steps])
    assert not out.exists()
    times = {file.name: file.stat().st_mtime_ns for file in (work / "tiles").glob("*.npz")}
    found = run("adapt", "lakes", "--out", str(out), *steps)
    assert times == {file.name: file.stat().st_mtime_ns for file in (work / "tiles").glob("*.npz")}
    assert [step for step, _ in found["history"]] == [0, 3, 6], "it went on after the step that was saved"
    # every judged square lies in a tile, and no place is in two parts
    assert found["objects"] == ROWS * COLUMNS
    assert sum(found["tiles"].values()) == sum(found["places"].values()) == ROWS * COLUMNS
    assert all(found["places"].values())
    (before,), (after,) = found["before"], found["after"]
    assert before["iou"]["value"] < 0.1
    assert after["iou"]["value"] > before["iou"]["value"] + 0.1, "the squares were learned"
    assert after["absent_tiles"] == 1
    (scene,) = found["scene"]["targets"]
    assert scene["after"] > 0
    assert (out / "adaptation.md").read_text().startswith(f"# {found['version']}, adapted to lakes")
    assert found["version"].startswith("segearth-r2-tiny-lakes@")
    # nothing was switched
    with engine.connect() as conn:
        assert watch_models.find_version(conn, settings, "lakes").startswith("segearth-r2-tiny@")
    assert "holds a model already" in run("adapt", "lakes", "--out", str(out), status=1)

    # the rest needs fewer tiles
    with engine.begin() as conn:
        watches.apply(conn, replace(watch, area=shrink(watch.area)))
    _check_switches(engine, settings, str(out), found["version"])
    _check_words(engine, watch.name)


def _check_switches(engine: Engine, settings: FlowSettings, folder: str, version: str) -> None:
    assert "without a terminal nobody can confirm it" in run("switch", "lakes", folder, status=2)
    shown = run("switch", "lakes", folder, "--yes", "--by", "ada")
    assert "on the ground for judging" in " ".join(shown.split())
    assert f"lakes: switched to {version}" in shown
    assert "has already" in run("switch", "--all", folder, "--yes")
    assert drain(engine, settings).inferred == 1, "the newest observed scene begins the new series"
    track_ready(engine)
    assert _models(engine) == {version}
    # a folder that changed is not taken for the model that was switched to
    config = Path(folder, "config.json")
    config.write_text(config.read_text().replace("-lakes", "-ponds"))
    with engine.connect() as conn:
        ((_, chosen),) = watch_models.list_models(conn, settings, "lakes")
    with pytest.raises(Exception, match="but lakes was switched to"):
        watch_models.load_model(settings, chosen)
    assert "rolled back" in run("rollback", "lakes", "--yes", "--by", "bob")
    with engine.connect() as conn:
        (one,) = model_switches.list_history(conn, "lakes")
        assert model_switches.find(conn, "lakes") is None
    assert (one.by, one.undone_by, one.version) == ("ada", "bob", version)
    assert "there is no switch to undo" in run("rollback", "lakes", "--yes", status=1)
    (row,) = run("switches", "lakes", "--json")
    assert row["folder"] == folder


def _check_words(engine: Engine, name: str) -> None:
    found = run("rewordings", name, "--tiles", "9", "--json")
    assert 3 <= len(found["wordings"]) <= 5
    assert found["agreement"] is None or 0 <= found["agreement"] <= 1
    with engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.rewording SET agreement = 0.25"))
        stored = watches.load_current(conn, name)
    listed = json.loads(CliRunner().invoke(app, ["watch", "list", "--json"]).stdout)
    assert [one["rewording_agreement"] for one in listed] == [0.25]
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("segwatch.flows.cli.learning.warn", said.append)
        report_words([(stored.watch, Applied(stored.revision_id, created=False))])
    assert "agree by 0.25 only" in said[0]
