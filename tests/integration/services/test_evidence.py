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

from segwatch.db import observations, scenes, watches
from segwatch.flows import evidence, situation
from segwatch.flows.segment import Drain
from segwatch.flows.settings import FlowSettings, load_settings
from segwatch.flows.track import track_ready
from segwatch.geo.crs import to_lonlat
from segwatch.geo.sources import profiles
from segwatch.geo.types import Instruction, Item, Scene, Watch
from tests.conftest import Database
from tests.support.colour_segmenter import ColourSegmenter
from tests.support.images import GRID, image
from tests.support.serving import serving_files

NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
DAYS = 2


class Dark(ColourSegmenter):
    colour = (10, 20, 30)


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a worker runs a flow; it is gone after that."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    evidence._warn_once.cache_clear()
    yield folder
    evidence._warn_once.cache_clear()


@pytest.fixture
def url(engine: Engine) -> Iterator[str]:
    """Files of a scene a day, each with an observation that is wanted."""
    area = to_lonlat(box(*GRID.bounds).buffer(-20), GRID.crs)
    with serving_files({"/a.tif": image(10, 20, 30)}) as files:
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
            observations.enqueue(conn, revision, Dark().version, scenes.upsert(conn, found))
        yield files.url


def answered(engine: Engine, settings: FlowSettings) -> list[str | None]:
    """Paths of pictures in the ledger, once a worker has answered everything."""
    assert Drain(engine, Dark(), settings).run().inferred == DAYS
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
        seen, where = situation.publish(engine, settings, "lakes")
    assert list(run_folder.iterdir()) == []
    (said,) = [record.getMessage() for record in caplog.records if "not kept" in record.getMessage()]
    assert "SEGWATCH_EVIDENCE" in said
    assert where.startswith("not kept: ")
    assert "set SEGWATCH_EVIDENCE" in where
    assert f"Report: {where}" in situation.as_markdown(seen, where)
    assert "No picture was kept" in situation.as_html(seen)
    assert "No scene was answered" not in situation.as_html(seen)
    assert situation.as_pdf(seen).startswith(b"%PDF-")


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
    seen, where = situation.publish(engine, settings, "lakes")
    assert where == (root / "lakes" / "situation.html").as_uri()
    assert "data:image/jpeg" in (root / "lakes" / "situation.html").read_text(encoding="utf-8")
    assert f"Report: {where}" in situation.as_markdown(seen, where)
    assert list(run_folder.iterdir()) == []
    assert "not kept" not in caplog.text
    # who looks from elsewhere is told that there are pictures
    evidence._warn_once.cache_clear()
    elsewhere = situation.gather(engine, given(database), "lakes")
    assert "set SEGWATCH_EVIDENCE" in situation.as_html(elsewhere)


@pytest.mark.usefixtures("url")
def test_pictures_that_are_switched_off_are_no_reason_to_warn(
    engine: Engine, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    assert answered(engine, given(database, evidence="none")) == [None] * DAYS
    assert "not kept" not in caplog.text


def test_without_a_server_of_its_own_the_home_folder_has_them(run_folder: Path) -> None:
    assert evidence.place(load_settings()) == str(run_folder / ".segwatch" / "evidence")
