"""A briefing can be handed on: it says what is known, how sure that is, and what nobody saw."""

from __future__ import annotations

import base64
import html
import re
import sqlite3
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import segno
import yaml
from shapely.geometry import box
from sqlalchemy import text
from typer.testing import CliRunner

from segwatch.db import analyst, events, watches
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.events import playbooks
from segwatch.flows.report.briefing import Request, gather_briefing
from segwatch.flows.report.figures import estimate_gains
from segwatch.flows.report.html import render, render_html
from segwatch.flows.report.language import LANGUAGES, load_language
from segwatch.flows.report.paper import render_pdf
from segwatch.geo import identity
from segwatch.geo.area import compute_area_m2
from segwatch.geo.types.assessment import Accuracy, Estimate, TargetAccuracy
from segwatch.geo.types.event import Event, EventKind, EventLevel
from segwatch.geo.types.watch import Instruction
from tests.conftest import Database
from tests.invariants.conftest import EVERYTHING, START, Ledger, SceneContent, cells
from tests.support.assessing import LAKE, POND, draw, label_all
from tests.support.briefings import brief
from tests.support.paths import ROOT

TARN = cells(5, 1, 6, 2)
#: Nobody saw the two western columns after the first day.
SEEN = cells(2, 0, 8, 8)
WORLD = (SceneContent((LAKE, TARN)), SceneContent((LAKE, POND), SEEN), SceneContent((LAKE, POND), SEEN))
URL = "https://maps.example.org/#watch=lakes"
HOSTILE = '</style><script>alert("x")</script> & <img src="file:///etc/passwd"> \u202e'


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FlowSettings:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGWATCH_PUBLIC_URL", "https://maps.example.org")
    monkeypatch.setenv("SEGWATCH_REPORT_CONTACT", "Situation room <room@example.org>")
    return load_settings()


def to_text(page: str) -> str:
    """What a reader of the page reads."""
    return " ".join(html.unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


def unpack(pdf: bytes) -> bytes:
    """The contents of a PDF's compressed streams."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\nendstream", pdf, re.DOTALL):
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:
            continue  # a picture
    return b"".join(found)


def list_pictures(page: str) -> dict[str, str]:
    """SVG documents of the page by their alternative text."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]+)"', page)
    return {html.unescape(words): base64.b64decode(data).decode() for words, data in found}


def test_one_page_says_what_is_known_and_how_sure(
    ledgers: Any, settings: FlowSettings, tmp_path: Path
) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, [0, 1, 2])
    ledger.give_up(3, skipped=True)
    forms = [word for form in ("html", "pdf", "png", "gpkg") for word in ("--format", form)]
    done = CliRunner().invoke(app, ["report", "lakes", "--out", str(tmp_path), *forms])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "briefing.html").read_text(encoding="utf-8")
    words = to_text(page)
    assert "Water near Arnstein, Germany: situation on 3 January 2024, 10:00 UTC" in page
    assert page.count("<h1>") == 1
    # figures are those of SQL
    (now,) = ledger.rows("SELECT sum(area_m2) / 1e4 AS ha FROM watch.objects_now")
    (first,) = ledger.rows("SELECT sum(area_m2) / 1e4 AS ha FROM watch.objects_as_of(:at)", at=START)
    assert (
        f"covered {now['ha']:.1f} ha, {now['ha'] - first['ha']:.1f} ha more than on 1 January 2024" in words
    )
    ever = compute_area_m2(LAKE.union(POND).union(TARN)) / 1e4
    assert f"{ever:.1f} ha maximum extent ground covered at any time" in words
    assert "NOT ASSESSED" in words
    assert words.count("no interval: not assessed") == 3
    # what nobody saw
    unseen = compute_area_m2(EVERYTHING.difference(SEEN)) / 1e4
    assert f"25% of the area ({unseen:.1f} ha) was not seen after 1 January 2024" in words
    assert "2 observed and 1 skipped" in words
    assert "1 × cloudy: 0% of the area is clear" in words
    before, after, strip, code = list_pictures(page).values()
    assert before.count('stroke="#282828"') < after.count('stroke="#282828"'), "only the later map is hatched"
    assert "stroke-dasharray" in after, "the new pond is provisional"
    assert all(one in drawing for drawing in (before, after) for one in (">500 m<", ">N<", "10.00° E"))
    assert "outline dashed: provisional" in strip
    assert code.count("M") > 50
    assert segno.make(URL, error="m", micro=False).version == 3
    assert URL in page
    assert "Situation room <room@example.org>" in words
    # nothing is loaded from elsewhere
    assert set(re.findall(r'src="(\w+):', page)) == {"data"}
    paper = (tmp_path / "briefing.pdf").read_bytes()
    objects = paper + unpack(paper)
    assert re.search(rb"/MarkInfo\s*<<\s*/Marked true", objects)
    assert b"/StructTreeRoot" in objects
    assert b"pdfuaid" in objects
    assert objects.count(b"/Alt") >= 4, "maps, legend and code are described"
    assert (tmp_path / "briefing.png").read_bytes().startswith(b"\x89PNG")
    with sqlite3.connect(tmp_path / "briefing.gpkg") as package:
        layers = [row[0] for row in package.execute("SELECT table_name FROM gpkg_contents ORDER BY 1")]
        (hidden,) = package.execute("SELECT sum(area_m2) / 1e4 FROM not_seen").fetchone()
    assert layers == ["changes", "not_seen", "objects"]
    assert hidden == pytest.approx(unseen, rel=1e-6)


def test_an_assessed_map_has_intervals(ledgers: Any, settings: FlowSettings) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive((SceneContent((LAKE,)), SceneContent((LAKE, POND)), SceneContent((LAKE, POND))), [0, 1, 2])
    draw(ledger)
    label_all(ledger)
    with ledger.engine.connect() as conn:
        water = analyst.read_accuracy(conn, "lakes").find("water")
    assert water is not None
    assert water.area_m2 is not None
    found = brief(ledger.engine, settings)
    area = found.page.tiles[0].interval.replace("\u00a0", " ")
    assert f"95 % interval: {water.area_m2.low / 1e4:.1f} ha to {water.area_m2.high / 1e4:.1f} ha" in area
    assert found.page.banner == ""
    assert "labelled sample found 100% of the mapped area right" in found.page.known
    # an earlier report of the same watch, in the form of another language
    with ledger.engine.connect() as conn:
        at = START + timedelta(hours=1)
        (total,) = analyst.sum_objects(conn, "lakes", at, EVERYTHING)
    earlier = gather_briefing(ledger.engine, settings, Request("lakes", until=at, title="Stausee Nord"))
    page = render(earlier, "de").page
    assert page.title == "Stausee Nord"
    assert page.tiles[0].number == f"{total['area_m2'] / 1e4:.1f}".replace(".", ",")
    assert "einzigen Beobachtung am 1. Januar 2024, 10:00 UTC" in page.known


def test_only_what_is_inside_the_area_and_not_refuted_counts(ledgers: Any, settings: FlowSettings) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, [0, 1, 2])
    crossing = box(9.995, 50.001, 10.005, 50.005)
    with ledger.engine.begin() as conn:  # as registered scenes move objects over the border
        (lake,) = conn.execute(
            text("SELECT track_id FROM watch.objects_now ORDER BY area_m2 DESC LIMIT 1")
        ).scalars()
        conn.execute(
            text("UPDATE segwatch.track_state SET status = 'refuted' WHERE track_id <> :id"), {"id": lake}
        )
        conn.execute(
            text(
                "UPDATE segwatch.track_state SET geom = ST_Multi(ST_GeomFromText(:geom, 4326)) WHERE track_id = :id"
            ),
            {"id": lake, "geom": crossing.wkt},
        )
    inside = compute_area_m2(crossing.intersection(EVERYTHING))
    found = brief(ledger.engine, settings)
    assert found.briefing.figures.extent_m2 == pytest.approx(inside, rel=1e-6)
    assert found.briefing.before_m2 == pytest.approx(inside, rel=1e-6)
    assert found.briefing.extent is not None
    assert found.briefing.extent.ground_m2 == pytest.approx(inside, rel=1e-6)
    (total,) = found.briefing.situation.totals
    assert (total.before_m2, total.after_m2) == pytest.approx((inside, inside), rel=1e-6)
    assert found.briefing.after is not None
    (outline,) = found.briefing.after.outlines.objects
    assert outline.geometry.within(EVERYTHING.buffer(1e-9))


def test_the_annexes_begin_where_the_first_page_does(ledgers: Any, settings: FlowSettings) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, [0, 1, 2])
    since = START + timedelta(days=1, hours=12)
    found = gather_briefing(ledger.engine, settings, Request("lakes", since=since))
    assert found.situation.first == since
    assert sum(one.before_m2 for one in found.situation.totals) == pytest.approx(found.before_m2)
    assert found.before_m2 > 0


def test_gains_are_estimated_from_the_changes_of_their_kinds() -> None:
    """All units of three kinds were looked at: of the gains, both are real, whatever the losses were."""
    sure, never = Estimate(1.0, 0.0, 1.0, 1.0), Estimate(0.0, 0.0, 0.0, 0.0)
    water = TargetAccuracy(
        "water", 60, 60, 1e4, changes=Estimate(0.5, 0.1, 0.3, 0.7),
        change_kinds={"appeared": sure, "grew": sure, "reappeared": never},
    )  # fmt: skip
    accuracy = Accuracy("lakes", UUID(int=1), START, (water,))
    rows = [
        {"target": "water", "kind": kind, "objects": count}
        for kind, count in (("appeared", 1), ("grew", 1), ("reappeared", 2))
    ]
    gains = estimate_gains(accuracy, rows)
    assert (gains.low, gains.high) == (2.0, 2.0)
    few = estimate_gains(accuracy, [{"target": "water", "kind": "merged", "objects": 10}])
    assert (few.low, few.high) == (3.0, 7.0), "the share of all kinds stands for one without labels"


def test_a_disaster_run_is_titled_by_its_event_and_hostile_text_stays_text(
    ledgers: Any, settings: FlowSettings
) -> None:
    ledger: Ledger = ledgers()
    ledger.model = f"{identity.DEMONSTRATION_MODELS[0]}@1"
    book = next(one for one in playbooks.load_each()[0] if one.name == "flood")
    name = playbooks.make_watch_name(book, "gdacs/FL1")
    flood = Event("gdacs", "FL1", EventKind.FLOOD, HOSTILE, START, EVERYTHING, level=EventLevel.RED)
    with ledger.engine.begin() as conn:
        events.record(conn, flood)
        watch = watches.load_current(conn, "lakes").watch
        hostile = Instruction(f"segment {HOSTILE}", (HOSTILE,))
        ledger.revision = watches.apply(conn, replace(watch, name=name, instruction=hostile)).revision_id
    title = brief(ledger.engine, settings, name).page.title
    assert title == "Flood near Arnstein, Germany: nothing observed yet"
    ledger.arrive(WORLD, [0, 1])
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.track SET target = :target"), {"target": HOSTILE})
    for code in LANGUAGES:
        found = brief(ledger.engine, settings, name, code)
        kind = load_language(code).say("kind.flood")
        assert found.page.title.startswith(kind)
        assert "Arnstein" in found.page.title
        assert found.page.banner == load_language(code).say("banner.demonstration")
        page = render_html(found)
        assert found.page.banner.partition(":")[0].strip() in page
        assert "<script" not in page
        assert {one.partition(":")[0] for one in re.findall(r'(?:src|href)="([^"]*)"', page)} <= {
            "data",
            "https",
        }
        assert all("<script" not in one for one in list_pictures(page).values())
        assert "\u202e" not in page
    assert render_pdf(found).startswith(b"%PDF-")


def test_every_language_says_everything() -> None:
    folder = ROOT / "flows" / "report" / "languages"
    catalogues = {
        code: yaml.safe_load((folder / f"{code}.yaml").read_text(encoding="utf-8")) for code in LANGUAGES
    }
    english = catalogues["en"]
    for code, messages in catalogues.items():
        assert messages.keys() == english.keys(), code
        for key, message in messages.items():
            if isinstance(message, list):
                assert len(message) == len(english[key]), (code, key)
            else:
                assert sorted(re.findall(r"{(\w+)}", message)) == sorted(
                    re.findall(r"{(\w+)}", english[key])
                ), key
    written = {code: load_language(code) for code in LANGUAGES}
    assert [one.write_area(123_456_000) for one in written.values()] == [
        "123.5\u00a0km²", "123,5\u00a0km²", "123,5\u00a0km²", "123,5\u00a0km²"
    ]  # fmt: skip
    assert [one.write_number(1234567) for one in written.values()] == [
        "1,234,567", "1.234.567", "1\u202f234\u202f567", "1\u202f234\u202f567"
    ]  # fmt: skip
    assert written["fr"].write_moment(START) == "1er janvier 2024 à 10\u00a0h\u00a000 UTC"
    assert written["es"].write_percent(0.001) == "menos del 1\u00a0%"
