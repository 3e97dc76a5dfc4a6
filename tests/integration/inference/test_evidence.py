"""Pictures and reports lie where something outlasts the run, or are not kept, and the ledger never says otherwise."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import ledger, observations, scenes, watches
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.flows.report.html import PAPER, render_html
from segwatch.flows.report.paper import render_pdf
from segwatch.flows.report.publish import publish
from segwatch.flows.report.summary import render_markdown
from segwatch.flows.runtime import ground_pictures, quicklook_store
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.sources import profiles
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import Instruction, Watch
from tests.conftest import Database
from tests.support.briefings import brief
from tests.support.colour_segmenter import Well
from tests.support.images import GRID, textured
from tests.support.serving import serving_files

NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
DAYS = 2


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a worker runs a flow; it is gone after that."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    quicklook_store._warn_once.cache_clear()
    yield folder
    quicklook_store._warn_once.cache_clear()


@pytest.fixture
def url(engine: Engine) -> Iterator[str]:
    """Files of a scene a day, each with an observation that is wanted."""
    area = to_lonlat(box(*GRID.boundingbox).buffer(-20), get_crs(GRID))
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        found = []
        for day in range(DAYS):
            at = NOW + timedelta(days=day)
            item = Item(
                f"a{day}",
                "visual",
                files.url,
                at,
                None,
                "made",
                "1",
                "",
                area,
                {"visual": f"{files.url}/a.tif"},
            )
            found.append(Scene("visual", "made", "1", date(2024, 5, 1 + day), at, (item,), area))
        watch = Watch(
            "lakes", Instruction("the water", ("water",)), area, profiles.load("rgb-cog"), files.url, NOW
        )
        with engine.begin() as conn:
            revision = watches.apply(conn, watch).revision_id
            observations.enqueue(conn, revision, Well().version, scenes.upsert(conn, found))
        yield files.url


def answered(engine: Engine, settings: FlowSettings) -> list[str | None]:
    """Paths of pictures in the ledger, once a worker has answered everything."""
    assert Drain(engine, Well(), settings).run().inferred == DAYS
    track_ready(engine)
    with engine.connect() as conn:
        query = text("SELECT evidence FROM segwatch.observation ORDER BY acquired_at")
        return list(conn.execute(query).scalars())


def given(database: Database, **more: Any) -> FlowSettings:
    return load_settings(database_url=database.url(), linger_seconds=0, **more)


@pytest.mark.usefixtures("url")
def test_where_nothing_is_meant_to_stay_nothing_is_kept(
    engine: Engine, database: Database, run_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = given(database)
    with caplog.at_level(logging.WARNING):
        assert answered(engine, settings) == [None] * DAYS
        seen, where = publish(engine, settings, "lakes")
    assert list(run_folder.iterdir()) == []
    (said,) = [record.getMessage() for record in caplog.records if "not stored" in record.getMessage()]
    assert "SEGWATCH_EVIDENCE" in said
    assert where.startswith("not stored: ")
    assert "set SEGWATCH_EVIDENCE" in where
    assert f"Report: {where}" in render_markdown(seen, where)
    page = render_html(seen)
    assert "No quicklook was stored" in page
    assert "No picture is stored for this map" in page
    assert "No scene was observed" not in page


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("setting", ["home", "evidence"])
def test_a_place_that_is_named_has_pictures_and_report(
    engine: Engine,
    database: Database,
    tmp_path: Path,
    run_folder: Path,
    setting: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = given(database, **{setting: str(tmp_path / "stays")})
    paths = answered(engine, settings)
    root = tmp_path / "stays" / ("evidence" if setting == "home" else "")
    assert all(path is not None and (root / path).read_bytes().startswith(b"\xff\xd8") for path in paths)
    seen, where = publish(engine, settings, "lakes")
    assert where == (root / "lakes" / "briefing.html").as_uri()
    page = (root / "lakes" / "briefing.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" in page
    assert "Imagery of 2 May 2024" in page
    assert (root / "lakes" / "briefing.pdf").read_bytes().startswith(b"%PDF-")
    assert (root / "lakes" / "briefing.png").read_bytes().startswith(b"\x89PNG")
    assert f"Report: {where}" in render_markdown(seen, where)
    assert list(run_folder.iterdir()) == []
    assert "not stored" not in caplog.text
    # who looks from elsewhere is told that there are pictures
    quicklook_store._warn_once.cache_clear()
    elsewhere = brief(engine, given(database))
    assert "set SEGWATCH_EVIDENCE" in render_html(elsewhere)


@pytest.mark.usefixtures("url")
def test_a_briefing_that_says_the_same_keeps_its_version(
    engine: Engine, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = given(database, evidence=str(tmp_path))
    answered(engine, settings)
    folder = tmp_path / "lakes"
    costly = [folder / f"briefing.{form}" for form in ("html", "pdf", "png")]
    with caplog.at_level(logging.WARNING):
        _, where = publish(engine, settings, "lakes")
        written = [file.stat().st_mtime_ns for file in costly]
        assert publish(engine, settings, "lakes")[1] == where
    assert "could not be read" not in caplog.text
    assert [file.stat().st_mtime_ns for file in costly] == written

    costly[0].unlink()
    publish(engine, settings, "lakes")
    assert costly[0].exists(), "a page that somebody removed comes back"

    written = [file.stat().st_mtime_ns for file in costly]
    publish(engine, given(database, evidence=str(tmp_path), report_contact="duty officer"), "lakes")
    assert all(file.stat().st_mtime_ns > before for file, before in zip(costly, written, strict=True))
    assert "duty officer" in costly[0].read_text(encoding="utf-8")


@pytest.mark.usefixtures("url")
def test_pictures_that_cannot_be_read_cost_neither_the_page_nor_the_paper(
    engine: Engine, database: Database, tmp_path: Path
) -> None:
    settings = given(database, evidence=str(tmp_path / "stays"))
    for path in answered(engine, settings):
        assert path is not None
        for one in (path, ground_pictures.name_file(path)):
            (tmp_path / "stays" / one).write_bytes(b"no picture any more")
    seen = brief(engine, settings)
    assert "The stored picture could not be read" in render_html(seen)
    assert render_pdf(seen).startswith(b"%PDF-")


def test_a_scene_of_many_items_and_a_long_reason_have_a_page_and_paper(
    engine: Engine, database: Database, tmp_path: Path
) -> None:
    names = [f"S2B_MSIL2A_20190629T212529_R043_T{number:03d}VN_20201006T080531" for number in range(500)]
    area = box(10.0, 50.0, 10.1, 50.1)
    items = tuple(
        Item(name, "s2", f"https://stac.example/items/{name}", NOW, None, "made", "1", "", area, {})
        for name in names
    )
    watch = Watch(
        "wide", Instruction("the water", ("water",)), area, profiles.load("rgb-cog"), "https://stac.example", NOW
    )  # fmt: skip
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
        scene = Scene("s2", "made", "1", NOW.date(), NOW, items, area)
        observations.enqueue(conn, revision, "m@1", scenes.upsert(conn, [scene]))
        leased = ledger.lease(conn, worker="w", seconds=60, model_version="m@1", watch=None, max_attempts=3)
        assert leased is not None
        reason = "the server said\n" * 50 + "something long " * 100 + "and its end"
        ledger.skip(conn, leased.observations[0].id, "w", reason)
    arguments = ["report", "wide", "--out", str(tmp_path), "--format", "html"]
    done = CliRunner().invoke(app, arguments, env={"SEGWATCH_DATABASE_URL": database.url()})
    assert done.exit_code == 0, done.output
    page = (tmp_path / "briefing.html").read_text(encoding="utf-8")
    assert all(name in page for name in names)
    assert "and its end" in page
    assert "nothing observed yet" in page
    paper = render_html(brief(engine, given(database), "wide"), limits=PAPER)
    assert paper.count(">S2B_MSIL2A_") == 5
    assert "and 495 more" in paper
    assert "and its end" not in paper


@pytest.mark.usefixtures("url")
def test_pictures_that_are_switched_off_are_no_reason_to_warn(
    engine: Engine, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    assert answered(engine, given(database, evidence="none")) == [None] * DAYS
    assert "not stored" not in caplog.text


def test_without_a_server_of_its_own_the_home_folder_has_them(run_folder: Path) -> None:
    assert quicklook_store.find_storage(load_settings()) == str(run_folder / ".segwatch" / "evidence")
