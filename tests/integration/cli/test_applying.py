"""`segwatch apply` shows what it would do before it does it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from segwatch.db import observations, watches
from segwatch.flows.cli.app import app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.stac_store import Store, stac_store

WATCH = {
    "version": 1, "name": "shore", "instruction": "segment the water", "start": "2024-01-01T00:00:00Z",
    "area": {"bbox": [0.5, 0.5, 0.51, 0.51]},
}  # fmt: skip


def segwatch(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def words(done: Result) -> str:
    return " ".join(done.output.split())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shore.yaml"


def write(file: Path, url: str, **more: Any) -> str:
    file.write_text(json.dumps(WATCH | {"source": {"profile": "rgb-cog", "catalog": url}} | more))
    return str(file)


def test_a_preview_counts_scenes_and_cost_and_shows_what_changes(
    engine: Engine, commands: Database, file: Path
) -> None:
    store = Store()
    for number in range(3):
        store.put(f"i{number}", f"2024-02-0{number + 1}T10:00:00Z")
    store.put("too-early", "2023-02-01T10:00:00Z")
    with stac_store(store) as url:
        dry = segwatch("apply", write(file, url), "--dry-run")
        assert dry.exit_code == 0, dry.output
        for part in (
            "shore: new, 1.231 km2", "scenes: 3 in the catalog now", "tile(s)", "computing time unknown until this",
            "at most", "nothing was stored (--dry-run)",
        ):  # fmt: skip
            assert part in words(dry)
        with engine.connect() as conn:
            assert watches.list_names(conn) == []
        done = json.loads(segwatch("apply", str(file), "--json").stdout)
        preview = done[0]["preview"]
        assert (done[0]["created"], preview["scenes"], preview["scenes_are_all"], preview["is_new"]) == (
            True,
            3,
            True,
            True,
        )
        rule = {"name": "sure", "kinds": ["grew", "shrank"], "digest": "hourly"}
        write(
            file,
            url,
            priority=200,
            area={"bbox": [0.5, 0.5, 0.52, 0.51]},
            end="2024-02-02T00:00:00Z",
            rules=[rule],
        )
        changed = segwatch("apply", str(file), "--dry-run")
        for part in (
            "shore: changed",
            "priority: 100 -> 200",
            "area: 1.231 km2 -> 2.462 km2",
            "scenes: 1 in the",
            "rules.sure.kinds: nothing -> grew, shrank",
        ):
            assert part in words(changed)
        assert "nothing -> nothing" not in words(changed)
    away = segwatch("apply", str(file))
    assert away.exit_code == 0, "a catalog that is away does not keep a watch from being stored"
    assert "scenes: unknown; catalog" in words(away)
    with engine.connect() as conn:
        assert watches.load_current(conn, "shore").watch.priority == 200


def test_withdrawn_messages_are_counted_before_and_after(
    ledgers: Any, commands: Database, file: Path
) -> None:
    ledger: Ledger = ledgers()
    ledger.rule(channels=("https://hooks.example.org/a",))
    ledger.arrive([SceneContent(()), SceneContent((cells(1, 1, 3, 3), cells(5, 5, 7, 7)))], [0, 1])
    with ledger.engine.connect() as conn:
        stored = watches.load_current(conn, "lakes").watch
    rule = {"name": "any", "status": "provisional", "channels": ["https://hooks.example.org/b"]}
    write(
        file, stored.catalog, name="lakes", rules=[rule], instruction=stored.instruction.text, targets=["water"],
        area={"bbox": list(stored.area.bounds)}, start=stored.start.isoformat(),
    )  # fmt: skip
    dry = segwatch("apply", str(file), "--dry-run")
    assert "withdraws 2 pending message(s) to channels that it no longer names" in words(dry)
    pending = "SELECT count(*) AS n FROM segwatch.delivery WHERE state = 'pending'"
    assert ledger.rows(pending) == [{"n": 2}], "a preview withdraws nothing"
    done = segwatch("apply", str(file))
    assert "2 pending message(s) withdrawn" in done.stdout
    assert ledger.rows(pending) == [{"n": 0}]
    assert "withdrawn" not in segwatch("apply", str(file)).output, "once"


def test_what_past_scenes_cost_is_the_estimate(ledgers: Any, commands: Database, file: Path) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent(())], [0])
    with ledger.engine.begin() as conn:
        stored = watches.load_current(conn, "lakes").watch
        watches.apply(conn, replace(stored, name="same-model"))
    write(file, stored.catalog)
    preview = json.loads(segwatch("apply", str(file), "--dry-run", "--json").stdout)[0]
    assert (preview["seconds_per_scene"], preview["is_measured"]) == (None, False), (
        "another model observed it"
    )
    rows = ledger.rows(
        "SELECT model_version, area_km2, compute_seconds, bytes_read FROM segwatch.observation"
    )
    (one,) = rows
    with ledger.engine.connect() as conn:
        cost = observations.read_cost(conn, one["model_version"])
    assert cost is not None
    gsd_m = stored.profile.gsd_m
    same = pytest.approx((one["compute_seconds"], one["bytes_read"]))
    assert cost.compute_for(one["area_km2"], gsd_m) == same
    # pixels half as long are four times as many
    assert cost.compute_for(one["area_km2"] / 4, gsd_m / 2) == same


@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        ("instruciton: x\n", ("line 2", "instruciton", "did you mean instruction?")),
        (
            "source:\n  profile: rgb-cgo\n  catalog: https://stac.example.org\n",
            ("line 3", "did you mean rgb-cog?"),
        ),
    ],
)
def test_mistakes_name_the_line_and_the_nearest(
    commands: Database, file: Path, wrong: str, parts: tuple[str, ...]
) -> None:
    name = wrong.partition(":")[0]
    kept = {key: value for key, value in WATCH.items() if key != name}
    document = {"source": {"profile": "rgb-cog", "catalog": "https://stac.example.org"}} | kept
    rest = "".join(f"{key}: {json.dumps(value)}\n" for key, value in document.items() if key != name)
    file.write_text("# a comment\n" + wrong + rest)
    done = segwatch("apply", str(file))
    assert done.exit_code == 1
    for part in parts:
        assert part in words(done)


@pytest.mark.parametrize(
    ("shadow", "main", "said"),
    [
        ("spectral", {"SEGWATCH_SEGMENTER": "spectral"}, "name another one, or none"),
        ("segearth-r2", {}, "set SEGWATCH_SHADOW_MODEL_PATH to another checkpoint"),
        ("sam3", {"SEGWATCH_MODEL": "sam3"}, "set SEGWATCH_SHADOW_MODEL_PATH to another checkpoint"),
    ],
)
def test_a_shadow_that_is_the_main_segmenter_is_refused(
    engine: Engine,
    commands: Database,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    shadow: str,
    main: dict[str, str],
    said: str,
) -> None:
    """It would compare the segmenter with itself, which is no second opinion."""
    store = Store()
    with stac_store(store) as url:
        write(file, url, shadow=shadow)
        for name, value in main.items():
            monkeypatch.setenv(name, value)
        refused = segwatch("apply", str(file))
        assert refused.exit_code == 1
        assert f"shadow: {shadow} is " in words(refused)
        assert said in words(refused)
        with engine.connect() as conn:
            assert watches.list_names(conn) == []
        # a watch that was stored before its shadow became the main segmenter
        for name in main:
            monkeypatch.delenv(name)
        monkeypatch.setenv("SEGWATCH_SHADOW_MODEL_PATH", "next")
        assert segwatch("apply", str(file)).exit_code == 0
        assert f"its shadow {shadow} predicts the scenes" in words(segwatch("watch", "compare", "shore"))
        monkeypatch.delenv("SEGWATCH_SHADOW_MODEL_PATH")
        for name, value in main.items():
            monkeypatch.setenv(name, value)
        assert f"its shadow {shadow} is " in words(segwatch("watch", "compare", "shore"))
