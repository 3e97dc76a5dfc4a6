"""What a user meets when pictures or files cannot be used: states, reasons and the way out, at every window."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from shapely.geometry import mapping
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import scenes, watches
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.flows.report.html import render_html
from segwatch.flows.report.summary import render_markdown
from segwatch.flows.web.application import create_app
from tests.conftest import Database
from tests.support.briefings import brief
from tests.support.colour_segmenter import Well
from tests.support.images import GRID, image, textured, tiff
from tests.support.serving import serving_files
from tests.support.small_queue import AREA, NOW, queue
from tests.support.stac_store import Store, stac_store

NUMBERS = np.random.default_rng(2).integers(300, 3000, (3, GRID.height, GRID.width)).astype(np.uint16)


@pytest.fixture(autouse=True)
def _ledger_of_this_test(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())


def _settings() -> FlowSettings:
    return load_settings().model_copy(
        update={"linger_seconds": 0.0, "evidence": "none", "retry_seconds": 0.0, "max_attempts": 3}
    )


def _rows(engine: Engine) -> list[Any]:
    with engine.connect() as conn:
        return list(
            conn.execute(text("SELECT state, attempts, reason FROM watch.coverage ORDER BY acquired_at"))
        )


def segwatch(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (tiff(NUMBERS), "the files hold more than 8 bits"),
        (image(10, 20, 30), "one colour, (10, 20, 30)"),
        (image(255, 255, 255), "100% of it is white"),
        (image(0, 0, 0), "100% of it is black"),
        (image(10), "the profile names band 2, the file has 1"),
        (textured(10, 20, 30), ""),
    ],
    ids=["16 bits", "one colour", "white", "black", "one band", "fit"],
)
def test_a_picture_that_says_nothing_fails_at_once_and_says_why(
    engine: Engine, content: bytes, why: str
) -> None:
    with serving_files({"/a.tif": content}) as files:
        queue(engine, files.url, Well.version, count=2)
        done = Drain(engine, Well(), _settings()).run()
    rows = _rows(engine)
    if not why:
        assert [(row.state, row.attempts) for row in rows] == [("inferred", 1)] * 2
        return
    assert [(row.state, row.attempts) for row in rows] == [("failed", 1)] * 2
    assert all(why in row.reason for row in rows)
    assert done.failed == sum(done.reasons.values()) == 2
    assert len(done.reasons) == 1, "one reason, twice"


def test_a_mended_profile_and_a_retry_observe_what_failed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_files({"/a.tif": tiff(NUMBERS)}) as files:
        queue(engine, files.url, Well.version)
        Drain(engine, Well(), _settings()).run()
        with engine.begin() as conn:
            watch = watches.load_current(conn, "lakes").watch
            watches.apply(conn, replace(watch, profile=replace(watch.profile, high=3000)))
        monkeypatch.setattr("segwatch.flows.inference.segmenters.get_model_version", lambda _: Well.version)
        assert "1 failed observation(s) queued again" in segwatch("retry", "lakes")
        Drain(engine, Well(), _settings()).run()
    assert [row.state for row in _rows(engine)] == ["inferred"]


def test_a_runs_last_lines_say_why_not_all_was_observed_and_what_it_did_for_other_watches(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGWATCH_SEGMENTER", "tests.support.colour_segmenter:Well")
    monkeypatch.setenv("SEGWATCH_EVIDENCE", "none")
    monkeypatch.setenv("SEGWATCH_LINGER_SECONDS", "0")
    store = Store()
    content = {"/a.tif": tiff(NUMBERS), "/ponds/a.tif": textured(10, 20, 30)}
    with stac_store(store) as url, serving_files(content) as files:
        queue(engine, f"{files.url}/ponds", Well.version, count=2, name="ponds")
        Drain(engine, Well(), _settings()).run()
        for day in range(1, 5):
            store.put(f"a{day}", f"2024-05-0{day}T10:00:00Z")
            assets = {"visual": {"href": f"{files.url}/a.tif"}} if day < 3 else {}
            store.items[f"a{day}"] |= {"geometry": mapping(AREA), "assets": assets}
        watch = {"version": 1, "name": "lakes", "instruction": "the water", "start": "2024-01-01T00:00:00Z"}
        source = {"area": {"geojson": mapping(AREA)}, "source": {"profile": "rgb-cog", "catalog": url}}
        (tmp_path / "lakes.yaml").write_text(json.dumps(watch | source))
        segwatch("apply", str(tmp_path / "lakes.yaml"))
        done = CliRunner().invoke(app, ["run", "lakes"])
    assert done.exit_code == 0, done.output
    others, rejected, failed = done.stdout.splitlines()[-3:]
    assert others == "of these, waiting since another run: ponds: 2 observation(s), 0 alert(s)"
    assert rejected.startswith("rejected: 2 x asset 'visual' is missing")
    assert failed.startswith(
        "not observed: 2 x the rendering cannot be judged: the files hold more than 8 bits"
    )


@pytest.fixture
def mixed(engine: Engine) -> Engine:
    """A watch with an observed scene, one that failed, and two rejected items, of a known and of an unknown time."""
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, Well.version)
        Drain(engine, Well(), _settings()).run()
    track_ready(engine)
    with serving_files({"/a.tif": tiff(NUMBERS)}) as files:
        queue(engine, files.url, Well.version, first=1)
        Drain(engine, Well(), _settings()).run()
    with engine.begin() as conn:
        revision = watches.load_current(conn, "lakes").revision_id
        known: dict[str, Any] = {"acquired_at": NOW, "footprint": AREA}
        link = "https://stac.example.org/"
        scenes.reject(conn, revision, "bare", "visual", f"{link}bare", "asset 'visual' is missing", **known)
        scenes.reject(conn, revision, "timeless", "visual", f"{link}timeless", "its time is unknown")
    return engine


def test_the_command_line_lists_all_of_it(mixed: Engine) -> None:
    told = segwatch("coverage", "lakes")
    for words in ("observed", "failed", "rejected", "unknown", "asset 'visual'", "its time"):
        assert words in told
    assert told.count("rejected") == 2
    lon, lat = AREA.centroid.coords[0]
    why = segwatch("why-not", "lakes", "--", str(lon), str(lat))
    assert re.search(r"rejected \S+ asset 'visual' is missing", why)
    assert re.search(r"unknown time rejected \S+ its time is unknown", why)
    assert re.search(r"failed \S+ the rendering cannot be judged", why)


def test_the_map_lists_all_of_it(mixed: Engine, database: Database) -> None:
    with TestClient(create_app(database.url("segwatch_analyst"))) as client:
        (watch,) = client.get("/api/watches").json()
        counts = [watch[name] for name in ("observed", "skipped", "failed", "pending", "rejected")]
        assert counts == [1, 0, 1, 0, 2]
        assert (watch["min_polygon_m2"], watch["min_change_m2"]) == (500, 1000)
        rows = client.get("/api/unused?watch=lakes").json()
        assert [row["state"] for row in rows] == ["rejected", "failed", "rejected"]
        assert {row["of_all"] for row in rows} == {3}
        assert all(row["reason"] for row in rows)
        assert len(client.get("/api/unused?watch=lakes&limit=1").json()) == 1
        assert client.get("/api/unused?watch=lakes&limit=100000").status_code == 422
        script = re.search(r'src="(/static/page/index-[^"]*\.js)"', client.get("/").text)
        assert script is not None
        assert "/api/unused" in client.get(script[1]).text


def test_a_watch_of_which_all_was_rejected_is_on_the_map(engine: Engine, database: Database) -> None:
    queue(engine, "https://stac.example.org", Well.version, count=0)
    with engine.begin() as conn:
        revision = watches.load_current(conn, "lakes").revision_id
        scenes.reject(conn, revision, "bare", "visual", "https://stac.example.org/bare", "no asset")
    with TestClient(create_app(database.url("segwatch_analyst"))) as client:
        (watch,) = client.get("/api/watches").json()
    assert (watch["watch"], watch["instruction"], watch["rejected"]) == ("lakes", "the water", 1)


def test_the_report_lists_all_of_it(mixed: Engine) -> None:
    seen = brief(mixed, _settings())
    page = render_html(seen)
    assert page.count(">rejected<") == 2
    assert "2 rejected" in page
    assert "its time is unknown" in page
    assert "objects under 500 m²" in page
    assert "2 rejected" in render_markdown(seen, "nowhere")


def test_an_asset_that_an_item_lacks_is_not_asked_for_three_times(engine: Engine) -> None:
    renamed = "UPDATE segwatch.watch SET definition = jsonb_set(definition, '{profile,red,asset}', '\"red\"')"
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, Well.version)
        with engine.begin() as conn:
            conn.execute(text(renamed))
        Drain(engine, Well(), _settings()).run()
    (row,) = _rows(engine)
    assert (row.state, row.attempts) == ("failed", 1)
    assert "has no such asset" in row.reason
