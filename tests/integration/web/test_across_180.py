"""A lake across 180 degrees, in every window: messages, texts, feeds, the map, OGC API and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text

from segwatch.db import digests, ledger, observations, scenes, watches
from segwatch.flows.alerting.channels import render_message
from segwatch.flows.web.application import create_app
from segwatch.geo.antimeridian import compute_bounds
from segwatch.geo.area import compute_area_m2
from segwatch.geo.events.document import read_events
from segwatch.geo.types.event import Event
from segwatch.geo.types.tracking import Detection, ObservationResult
from segwatch.geo.types.watch import Digest
from tests.conftest import Database
from tests.invariants.conftest import START, Ledger, scene

AREA = box(179.8, -17, 180, -16.8).union(box(-180, -17, -179.8, -16.8))
LAKE = box(179.98, -16.95, 180, -16.9).union(box(-180, -16.95, -179.97, -16.9))
POND = box(179.9, -16.85, 179.91, -16.84)
BBOX = [179.98, -16.95, -179.97, -16.9]


def look(made: Ledger, day: int, *shapes: BaseGeometry) -> None:
    """The scene of a day shows these shapes in the whole area."""
    one = scene(day)
    over = replace(one, footprint=AREA, items=tuple(replace(item, footprint=AREA) for item in one.items))
    with made.engine.begin() as conn:
        observations.enqueue(conn, made.revision, made.model, scenes.upsert(conn, [over]))
    leased = made.lease("w")
    found = tuple(Detection("water", shape, 0.75, compute_area_m2(shape)) for shape in shapes)
    result = ObservationResult(AREA, found, "yes", 1, 0, 1.0, 1, 0.1)
    with made.engine.begin() as conn:
        ledger.save(conn, leased.observations[0].id, "w", result, {"read_at": START})
    made.track()


@pytest.fixture
def empty_island(ledgers: Any) -> Ledger:
    """A ledger of ground across 180 degrees, seen once, without water."""
    made: Ledger = ledgers()
    with made.engine.begin() as conn:
        watch = replace(watches.load_current(conn, "lakes").watch, area=AREA)
        made.revision = watches.apply(conn, watch).revision_id
    look(made, 0)
    return made


@pytest.fixture
def island(empty_island: Ledger) -> Ledger:
    """The same, on which a lake and a pond appeared."""
    look(empty_island, 1, LAKE, POND)
    return empty_island


@pytest.fixture
def client(database: Database, island: Ledger) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst")), raise_server_exceptions=False) as made:
        yield made


def about_the_lake(rows: list[dict[str, Any]]) -> dict[str, Any]:
    payloads = [row["payload"] for row in rows]
    return next(one for one in payloads if one["data"]["bbox"][0] > one["data"]["bbox"][2])


def test_messages_and_texts_name_the_place(island: Ledger) -> None:
    message = about_the_lake(island.rows("SELECT payload FROM segwatch.delivery"))
    assert message["data"]["bbox"] == BBOX
    _, body = render_message(message)
    assert "around -16.92500, -179.99500 (latitude, longitude)" in body


def test_a_digest_has_the_narrowest_box(empty_island: Ledger) -> None:
    empty_island.rule(digest=Digest())
    look(empty_island, 1, LAKE, POND)
    with empty_island.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.delivery SET digest_at = now() WHERE digest_at IS NOT NULL"))
        assert digests.write_due(conn)
    (digest, *_) = empty_island.rows("SELECT payload FROM segwatch.delivery WHERE alert_id IS NULL")
    assert digest["payload"]["data"]["bbox"] == [179.9, -16.95, -179.97, -16.84]


def test_feeds_lead_back_to_the_same_ground(client: TestClient) -> None:
    events = list(read_events(client.get("/feeds/lakes/atom.xml").content, "f"))
    # our own entries name no kind of disaster
    assert len(events) == 2
    document = client.get("/feeds/lakes/atom.xml").content.replace(b"water appeared", b"flood appeared")
    read_back = [one for one in read_events(document, "f") if isinstance(one, Event)]
    lake = next(one.geometry for one in read_back if one.geometry.geom_type == "MultiPolygon")
    assert compute_bounds(lake) == pytest.approx(tuple(BBOX))
    assert lake.symmetric_difference(LAKE).area < 1e-9
    cap = client.get(f"/feeds/cap/{_alert(client)['alert_id']}.xml").text
    assert "longitude 179.9800 to -179.9700, across 180" in cap


def _alert(client: TestClient) -> dict[str, Any]:
    alerts = client.get("/api/alerts?watch=lakes").json()
    return next(one for one in alerts if one["west"] > one["east"])


def test_the_map_is_told_the_narrow_bounds(client: TestClient) -> None:
    (watch,) = client.get("/api/watches").json()
    assert [watch[side] for side in ("west", "south", "east", "north")] == pytest.approx(
        [179.8, -17, -179.8, -16.8]
    )
    alert = _alert(client)
    assert [alert[side] for side in ("west", "south", "east", "north")] == pytest.approx(BBOX)
    assert not [one for one in alert if one.endswith("360")]


OBJECTS = "/ogc/collections/watch.objects_now"


def test_extents_of_collections_cross_and_those_of_tiles_hold_everything(client: TestClient) -> None:
    (bbox,) = client.get(OBJECTS).json()["extent"]["spatial"]["bbox"]
    assert bbox == pytest.approx([179.9, -16.95, -179.97, -16.84])
    tiles = client.get(f"{OBJECTS}/tiles/WebMercatorQuad/tilejson.json").json()
    assert tiles["bounds"][0] < tiles["bounds"][2]
    listed = client.get("/ogc/collections").json()["collections"]
    coverage = next(one for one in listed if one["id"] == "watch.coverage")
    assert coverage["extent"]["spatial"]["bbox"][0][0] == pytest.approx(179.8)


ACROSS = "POLYGON((179.97 -17, -179.9 -17, -179.9 -16.8, 179.97 -16.8, 179.97 -17))"


REQUESTS: list[tuple[dict[str, str], int]] = [
    ({"bbox": "179.97,-17,-179.9,-16.8"}, 1),
    ({"bbox": "179.85,-17,-179.9,-16.8"}, 2),
    ({"bbox": "179.97,-17,0,-179.9,-16.8,9"}, 1),
    ({"bbox": "-170,-17,170,-16"}, 0),
    ({"bbox": "-179.99,-17,-179.9,-16.8"}, 1),
    ({"bbox": "179.85,-17,-179.9,-16.8", "filter": "area_m2 < 3000000"}, 1),
    ({"filter": "S_INTERSECTS(geom, BBOX(179.97, -17, -179.9, -16.8))"}, 1),
    ({"filter": "NOT S_INTERSECTS(geom, BBOX(179.97, -17, -179.9, -16.8))"}, 1),
    ({"filter": f"S_INTERSECTS(geom, {ACROSS})"}, 1),
]


def test_requests_across_180_degrees_find_what_lies_there(client: TestClient) -> None:
    for asked, count in REQUESTS:
        answer = client.get(f"{OBJECTS}/items", params=asked)
        assert answer.status_code == 200, (asked, answer.text)
        assert answer.json()["numberMatched"] == count, asked


def test_boxes_that_are_none_are_still_refused(client: TestClient) -> None:
    for bbox in ("1,2,3", "nan,1,2,3", "400,1,2,3", "170,99,-170,100"):
        assert client.get(f"{OBJECTS}/items", params={"bbox": bbox}).status_code == 400, bbox
