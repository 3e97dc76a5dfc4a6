"""Events and watches that cost without bound, or claim times that cannot be: they are refused, and the rest goes on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import events
from segwatch.flows.cli import app
from segwatch.flows.config.settings import load_settings
from segwatch.flows.events.disaster_runs import respond_to_events
from segwatch.flows.events.ingest import record_events
from segwatch.flows.events.playbooks import find_playbook, load_all
from segwatch.geo.types.event import Event
from tests.conftest import Database
from tests.support.hostile_shapes import as_geojson, knot, latitude_first

NOW = datetime.now(UTC).replace(microsecond=0)


def flood(place: dict[str, Any] | None = None, *, name: str = "dam", **more: Any) -> dict[str, Any]:
    said = {"kind": "flood", "title": "Dam break", "occurred_at": "2024-05-01T00:00:00Z"}
    said |= {"updated_at": (NOW - timedelta(hours=5)).isoformat()} | more
    return {
        "type": "Feature",
        "id": name,
        "geometry": place or {"type": "Point", "coordinates": [15, 46]},
        "properties": said,
    }


def collection(*features: dict[str, Any]) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def known(engine: Engine) -> dict[str, Event]:
    with engine.connect() as conn:
        return {one.external_id: one for one in events.load_events(conn)}


def test_knots_in_feeds_are_refused_one_by_one(engine: Engine) -> None:
    shape = knot(6000)
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    recorded, refused = record_events(
        engine,
        collection(
            flood(as_geojson(shape), name="knot"),
            flood(name="good"),
            flood(name="deep", magnitude=deep),
            flood({"type": "MultiPolygon", "coordinates": [[]] * 50_000}, name="empty"),
        ),
        "f",
    )
    assert recorded == {"new": 1}
    reasons = {one["entry"]: one["reason"] for one in refused}
    assert "cross each other" in reasons["knot"]
    assert "parts" in reasons["empty"]
    assert reasons.keys() == {"knot", "deep", "empty"}
    ring = latitude_first(shape)
    shell = f"<gml:exterior><gml:LinearRing><gml:posList>{ring}</gml:posList></gml:LinearRing></gml:exterior>"
    gml = f"<gml:Polygon>{shell}</gml:Polygon>"
    items = "".join(
        f"<item><guid>{name}</guid><title>Flood</title><pubDate>Fri, 27 Nov 2026 10:00:00 +0000</pubDate>{place}</item>"
        for name, place in {
            "polygon": f"<georss:polygon>{ring}</georss:polygon>",
            "line": f'<georss:line radius="5000">{ring}</georss:line>',
            "gml": f"<georss:where>{gml}</georss:where>",
            "point": "<georss:point>46 15</georss:point>",
        }.items()
    )
    spaces = 'xmlns:georss="http://www.georss.org/georss" xmlns:gml="http://www.opengis.net/gml"'
    recorded, refused = record_events(engine, f"<rss {spaces}><channel>{items}</channel></rss>".encode(), "g")
    assert (recorded, {one["entry"] for one in refused}) == ({"new": 1}, {"polygon", "line", "gml"})


def test_an_event_from_the_future_does_not_freeze_what_is_said_later(engine: Engine) -> None:
    bogus = collection(flood(title="bogus", updated_at="2099-01-01T00:00:00Z"))
    assert record_events(engine, bogus, "f")[0] == {"new": 1}
    later = collection(flood(title="true", updated_at=(datetime.now(UTC) + timedelta(minutes=1)).isoformat()))
    assert record_events(engine, later, "f")[0] == {"revised": 1}
    assert record_events(engine, bogus, "f")[0] == {"stale": 1}, "saying it again does not say it later"
    assert known(engine)["dam"].title == "true"
    with engine.connect() as conn:
        query = text("SELECT min(properties ->> 'updated_at') FROM segwatch.event WHERE title = 'bogus'")
        assert conn.execute(query).scalar_one().startswith("2099-01-01"), "stored as claimed"


def test_what_is_taken_back_in_the_future_can_be_said_again(engine: Engine) -> None:
    record_events(engine, collection(flood()), "f")
    taken_back = collection({**flood(updated_at="2099-01-01T00:00:00Z", cancelled=True), "geometry": None})
    assert record_events(engine, taken_back, "f")[0] == {"revised": 1}
    assert (known(engine)["dam"].updated_at or NOW) < NOW + timedelta(hours=1)
    again = collection(flood(updated_at=(datetime.now(UTC) + timedelta(minutes=1)).isoformat()))
    assert record_events(engine, again, "f")[0] == {"revised": 1}
    record_events(engine, taken_back, "f")
    assert not known(engine)["dam"].cancelled, "saying it again does not say it later"


def test_an_event_of_a_far_year_keeps_no_other_from_being_responded_to(engine: Engine) -> None:
    times = {"far": "9999-12-31T23:59:59Z", "late": "2199-12-31T23:59:59Z"}
    far = collection(*(flood(name=name, occurred_at=at) for name, at in times.items()))
    recorded, refused = record_events(engine, far, "f")
    assert (recorded, [one["entry"] for one in refused]) == ({"new": 1}, ["far"])
    assert list(respond_to_events(engine, load_settings(), [find_playbook(load_all(), "flood")])) == []


def test_apply_stores_the_good_watches_of_a_folder_and_names_the_bad(
    database: Database, engine: Engine, tmp_path: Path
) -> None:
    area = tmp_path / "knot.geojson"
    area.write_text(json.dumps(as_geojson(knot(6000))))
    plain = "{bbox: [15.0, 46.0, 15.1, 46.1]}"
    for name, place, end in (
        ("good", plain, "2030-01-01T00:00:00Z"),
        ("never", plain, "9999-12-31T23:59:59Z"),
        ("early", plain, "0001-01-01T00:00:00+05:00"),
        ("knot", f"{{file: {area}}}", "2030-01-01T00:00:00Z"),
    ):
        (tmp_path / f"{name}.yaml").write_text(
            f"version: 1\nname: {name}\ninstruction: segment the water\narea: {place}\n"
            f'source: {{profile: local-sentinel2, catalog: "http://127.0.0.1:9"}}\n'
            f"start: 2024-01-01T00:00:00Z\nend: {end}\n"
        )
    settings = {"SEGWATCH_DATABASE_URL": database.url(), "SEGWATCH_HOME": str(tmp_path / "home")}
    done = CliRunner(env=settings).invoke(app, ["apply", str(tmp_path)])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1, done.output
    assert ["early.yaml" in done.stderr, "cross each other" in " ".join(done.stderr.split())] == [True, True]
    with engine.connect() as conn:
        assert set(conn.execute(text("SELECT name FROM segwatch.watch_head")).scalars()) == {"good", "never"}
