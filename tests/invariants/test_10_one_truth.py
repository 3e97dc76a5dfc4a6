"""Invariant 10: views, functions, map, OGC, reports, feeds and messages agree at any moment on what holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import shapely
from fastapi.testclient import TestClient
from morecantile import tms
from shapely.affinity import affine_transform
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from segwatch.db import alerts, analyst, outbox, reviews
from segwatch.db.reviews import Verdict
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.report import situation
from segwatch.flows.web.application import create_app
from segwatch.geo.area import compute_area_m2
from tests.conftest import Database
from tests.invariants.conftest import EVERYTHING, Ledger, SceneContent, cells, day
from tests.support.vector_tiles import decoded

ATOM = "{http://www.w3.org/2005/Atom}"
CAP = "{urn:oasis:names:tc:emergency:cap:1.2}"
GRID = tms.get("WebMercatorQuad")
ZOOM = 15
#: Of a tile's 4096 units, metres on the ground here; and half a pixel of 512, which outlines are simplified by.
UNIT_DEG = 360 / 2**ZOOM / 4096
SLACK_DEG = 8 * UNIT_DEG

Objects = dict[str, tuple[float, BaseGeometry]]


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst"))) as made:
        yield made


@dataclass
class Windows:
    """Every view, function, page and message that shows what holds."""

    ledger: Ledger
    client: TestClient
    home: Path

    def objects(self) -> dict[str, Objects]:
        """Objects now by window: id -> area and geometry."""
        history = (
            "SELECT track_id, area_m2, geom FROM watch.object_history"
            " WHERE in_force AND valid_to IS NULL AND alive"
        )
        return {
            "objects_now": self._objects("SELECT track_id, area_m2, geom FROM watch.objects_now"),
            "objects_as_of": self.as_of(datetime.now(UTC), datetime.now(UTC)),
            "object_history": self._objects(history),
            "OGC items": self._items("objects_now"),
            "OGC history": self._items(
                "object_history", filter="in_force = TRUE AND valid_to IS NULL AND alive = TRUE"
            ),
        }

    def as_of(self, valid: datetime, known: datetime) -> Objects:
        """What the function says."""
        query = "SELECT track_id, area_m2, geom FROM watch.objects_as_of(:valid, :known)"
        return self._objects(query, valid=valid, known=known)

    def _objects(self, query: str, **values: object) -> Objects:
        rows = self.ledger.rows(query, **values)
        found = {str(row["track_id"]): (row["area_m2"], shapely.from_wkb(row["geom"])) for row in rows}
        assert len(found) == len(rows), "one row an object"
        return found

    def _items(self, name: str, **asked: str) -> Objects:
        answer = self.client.get(f"/ogc/collections/watch.{name}/items", params={"limit": "10000", **asked})
        assert answer.status_code == 200, answer.text
        return {
            one["properties"]["track_id"]: (one["properties"]["area_m2"], shape(one["geometry"]))
            for one in answer.json()["features"]
        }

    def tiles(self, path: str) -> dict[str, tuple[float, BaseGeometry, str]]:
        """Objects of vector tiles put together: id -> area, geometry, what is shown."""
        parts: dict[str, list[BaseGeometry]] = defaultdict(list)
        properties: dict[str, dict[str, Any]] = {}
        drawn = Counter[str]()
        for place in GRID.tiles(*EVERYTHING.bounds, [ZOOM]):
            answer = self.client.get(path.format(z=place.z, x=place.x, y=place.y))
            assert answer.status_code == 200, answer.text
            layers = decoded(answer.content)
            for one in layers.get("objects", layers.get("default", [])):
                properties[one.properties["track_id"]] = one.properties
                parts[one.properties["track_id"]].append(_on_ground(one.geometry, place))
            for one in layers.get("summary", []):
                drawn.update(objects=one.properties["objects"], outlined=one.properties["outlined"])
        if drawn:
            assert (
                drawn["objects"]
                == drawn["outlined"]
                == len([one for one in properties.values() if one["shows"] not in {"gone", "disappeared"}])
            ), "each is counted once"
        return {
            one: (more["area_m2"], shapely.union_all(parts[one]), more.get("shows", ""))
            for one, more in properties.items()
        }

    def map_tiles(self, at: datetime) -> dict[str, tuple[float, BaseGeometry, str]]:
        """What the page draws at a date."""
        query = urlencode({"watch": "lakes", "at": at.isoformat()})
        return self.tiles("/api/tiles/{z}/{x}/{y}.mvt?" + query)

    def alerts(self) -> dict[str, set[str]]:
        """Alerts that hold by window."""
        with self.ledger.engine.connect() as conn:
            listed = analyst.list_alerts(conn, "lakes")
        feed = ET.fromstring(self.client.get("/feeds/lakes/atom.xml").content)  # noqa: S314 - our own
        entries = {
            str(entry.findtext(f"{ATOM}id")).removeprefix("urn:uuid:"): str(entry.findtext(f"{ATOM}title"))
            for entry in feed.findall(f"{ATOM}entry")
        }
        cap = {one: self.client.get(f"/feeds/cap/{one}.xml").content for one in entries}
        kinds = {one: ET.fromstring(body).findtext(f"{CAP}msgType") for one, body in cap.items()}  # noqa: S314
        ogc = self.client.get("/ogc/collections/watch.alerts/items", params={"limit": "10000"}).json()
        shown = self.client.get("/api/alerts", params={"watch": "lakes"}).json()
        return {
            "alerts": {str(row["alert_id"]) for row in self.ledger.rows(
                "SELECT alert_id FROM watch.alerts WHERE retracted_at IS NULL")},
            "status": {str(row["alert_id"]) for row in self.ledger.rows(
                "SELECT alert_id FROM watch.alerts WHERE status = 'open'")},
            "command line": {str(row["alert_id"]) for row in listed if row["retracted_at"] is None},
            "map": {row["alert_id"] for row in shown if row["retracted_at"] is None},
            "OGC": {one["id"] for one in ogc["features"] if one["properties"]["retracted_at"] is None},
            "Atom": {one for one, title in entries.items() if not title.startswith("Retracted")},
            "CAP": {one for one, kind in kinds.items() if kind != "Cancel"},
            "messages": self._messages(),
        }  # fmt: skip

    def _messages(self) -> set[str]:
        """Alerts whose last message that was sent, or is about to be, does not take them back."""
        rows = self.ledger.rows(
            "SELECT DISTINCT ON (alert_id, channel) alert_id, payload ->> 'type' AS type FROM segwatch.delivery"
            " WHERE state IN ('pending', 'delivered') ORDER BY alert_id, channel, ordinal DESC"
        )
        return {str(row["alert_id"]) for row in rows if row["type"] != "segwatch.alert.retracted"}

    def changes(self) -> dict[str, Counter[str]]:
        """Kinds of the changes that hold, without the baseline."""
        with self.ledger.engine.connect() as conn:
            told = Counter(
                one.change.kind.value for one in alerts.list_changes(conn, "lakes") if not one.change.baseline
            )
        rows = self.ledger.rows("SELECT kind FROM watch.changes WHERE retracted_at IS NULL AND NOT baseline")
        asked = {"limit": "10000", "filter": "retracted_at IS NULL AND baseline = FALSE"}
        ogc = self.client.get("/ogc/collections/watch.changes/items", params=asked).json()
        reported = Counter[str]()
        for row in self.situation().changes.to_dict("records"):
            reported[row["kind"]] += row["objects"]
        return {
            "changes": Counter(row["kind"] for row in rows),
            "backtest": told,
            "OGC": Counter(one["properties"]["kind"] for one in ogc["features"]),
            "report": reported,
        }

    def situation(self) -> situation.Situation:
        """The report."""
        return situation.gather(self.ledger.engine, FlowSettings(home=self.home), "lakes")

    def check(self) -> None:
        """All of them agree."""
        self._check_objects()
        self._check_totals()
        for name, held in (("alerts", self.alerts()), ("changes", self.changes())):
            first = held[name]
            for window, found in held.items():
                assert found == first, (name, window)

    def _check_objects(self) -> None:
        windows = self.objects()
        truth = windows["objects_now"]
        for window, found in windows.items():
            assert found.keys() == truth.keys(), window
            for one, (area, geometry) in found.items():
                assert area == pytest.approx(truth[one][0]), (window, one)
                assert geometry.symmetric_difference(truth[one][1]).area < 1e-12, (window, one)
        shown = self.map_tiles(day(9)).items()
        path = "/ogc/collections/watch.objects_now/tiles/WebMercatorQuad/{z}/{x}/{y}"
        drawn = {
            "map": {one: some for one, some in shown if some[2] not in {"gone", "disappeared"}},
            "OGC tiles": self.tiles(path),
        }
        for window, shapes in drawn.items():
            assert shapes.keys() == truth.keys(), window
            for one, (area, geometry, _) in shapes.items():
                assert area == pytest.approx(truth[one][0]), (window, one)
                assert geometry.hausdorff_distance(truth[one][1]) < SLACK_DEG, (window, one)

    def _check_totals(self) -> None:
        truth = self.objects()["objects_now"]
        hectares = sum(area for area, _ in truth.values()) / 1e4
        (header,) = self.client.get("/api/watches").json()
        (status,) = self.ledger.summarize()
        for window in (header, status):
            assert window["objects"] == len(truth)
            assert window["hectares"] == pytest.approx(hectares)
        assert status["alerts"] == len(self.alerts()["alerts"])
        reported = sum(one.after_m2 for one in self.situation().totals)
        assert reported / 1e4 == pytest.approx(hectares)


def _on_ground(geometry: BaseGeometry, place: Any) -> BaseGeometry:
    west, _, east, north = GRID.xy_bounds(place)
    scale = (east - west) / 4096
    mercator = affine_transform(geometry, [scale, 0, 0, -scale, west, north])
    lonlat = shapely.transform(mercator, lambda points: np.array([GRID.lnglat(*point) for point in points]))
    clip = shapely.box(*GRID.bounds(place))
    return shapely.make_valid(lonlat).intersection(clip)


LAKE, POND, SHADOW, FLOOD = cells(1, 1, 3, 3), cells(5, 1, 6, 2), cells(1, 5, 3, 7), cells(5, 5, 7, 7)
GROWN = cells(1, 1, 4, 3)
WORLD = {
    0: SceneContent((LAKE, POND)),
    1: SceneContent((LAKE, POND, FLOOD)),
    2: SceneContent((LAKE, POND, SHADOW, FLOOD)),
    3: SceneContent((GROWN, SHADOW, FLOOD)),
    4: SceneContent((GROWN, FLOOD)),
}


def at(ledger: Ledger, place: BaseGeometry) -> Any:
    """Find the object at a place."""
    (row,) = ledger.rows(
        "SELECT t.track_id FROM segwatch.track_state t WHERE upper_inf(t.recorded) AND upper_inf(t.valid)"
        " AND t.merged_into IS NULL AND ST_Intersects(t.geom, ST_GeomFromText(:place, 4326))",
        place=place.representative_point().wkt,
    )
    return row["track_id"]


def test_all_windows_agree_through_rejects_edits_retractions_and_late_scenes(
    ledgers: Any, client: TestClient, tmp_path: Path
) -> None:
    ledger: Ledger = ledgers(gone_after=1)
    seen = Windows(ledger, client, tmp_path)

    def decide(place: BaseGeometry, verdict: Verdict, **more: Any) -> None:
        with ledger.engine.begin() as conn:
            reviews.decide(conn, at(ledger, place), verdict, reviewer="ada", reason="seen", **more)
        seen.check()

    ledger.arrive(WORLD, [0, 2])
    seen.check()
    with ledger.engine.begin() as conn:
        # half of the messages are out, so that receivers have something to be told again
        for one in outbox.lease(conn, worker="w", seconds=60, limit=2):
            outbox.record_delivered(conn, one.id)
        outbox.release(conn, "w", [one.id for one in outbox.lease(conn, worker="w", seconds=60, limit=9)])
    before = datetime.now(UTC)
    shadow, pond = str(at(ledger, SHADOW)), str(at(ledger, POND))
    decide(SHADOW, Verdict.REJECTED)
    assert shadow not in seen.objects()["objects_now"]
    drawn = cells(5.1, 1, 6.2, 2.1)
    decide(POND, Verdict.EDITED, outline=drawn)
    assert seen.objects()["objects_now"][pond][1].equals(drawn)
    # a late scene dates the flood back, under another name: its alert is retracted and raised anew
    ledger.arrive(WORLD, [1])
    assert len(ledger.rows("SELECT 1 FROM watch.alert_corrections WHERE kind = 'retracted'")) >= 2
    seen.check()
    ledger.arrive(WORLD, [3])
    seen.check()
    assert pond not in seen.objects()["objects_now"], "it disappeared"
    decide(SHADOW, Verdict.CONFIRMED)
    assert shadow in seen.objects()["objects_now"]
    decide(FLOOD, Verdict.REJECTED)
    ledger.arrive(WORLD, [4])
    seen.check()
    decide(LAKE, Verdict.EDITED, outline=cells(1, 1, 4.2, 3.2))
    decide(FLOOD, Verdict.CONFIRMED)
    # what was known before any verdict is known still
    then = seen.as_of(day(2), before)
    assert shadow in then
    assert then[pond][1].equals(POND)
    assert sum(area for area, _ in then.values()) == pytest.approx(
        sum(compute_area_m2(one) for one in (LAKE, POND, SHADOW, FLOOD))
    )


def test_the_map_shows_each_date_as_objects_as_of_does(
    ledgers: Any, client: TestClient, tmp_path: Path
) -> None:
    ledger: Ledger = ledgers(gone_after=1)
    seen = Windows(ledger, client, tmp_path)
    ledger.arrive(WORLD, [0, 1, 2, 3, 4])
    with ledger.engine.begin() as conn:
        flood = at(ledger, FLOOD)
        reviews.decide(conn, flood, Verdict.EDITED, reviewer="a", reason="b", outline=cells(5, 5, 7.2, 7.2))
    expected = [
        {"baseline": 2},
        {"baseline": 2, "appeared": 1},
        {"baseline": 2, "as before": 1, "appeared": 1},
        {"grew": 1, "disappeared": 1, "as before": 2},
        {"as before": 2, "disappeared": 1, "gone": 1},
    ]
    for number, shows in enumerate(expected):
        drawn = seen.map_tiles(day(number))
        assert Counter(one[2] for one in drawn.values()) == shows, number
        there = seen.as_of(day(number), datetime.now(UTC))
        held = {one: some for one, some in drawn.items() if some[2] not in {"gone", "disappeared"}}
        assert held.keys() == there.keys()
        for one, (area, geometry, _) in held.items():
            assert area == pytest.approx(there[one][0])
            assert geometry.hausdorff_distance(there[one][1]) < SLACK_DEG


def test_a_new_model_hides_no_past_and_shows_nothing_twice(
    ledgers: Any, client: TestClient, tmp_path: Path
) -> None:
    ledger: Ledger = ledgers(gone_after=1)
    seen = Windows(ledger, client, tmp_path)
    ledger.arrive(WORLD, [0, 1, 2])
    before, known = seen.as_of(day(1), datetime.now(UTC)), datetime.now(UTC)
    ledger.model = "other@0123456789ab"
    ledger.arrive(WORLD, [2, 3])
    seen.check()
    now = datetime.now(UTC)
    assert seen.as_of(day(1), now) == seen.as_of(day(1), known) == before
    assert len(seen.as_of(day(2), now)) == 4
    assert seen.map_tiles(day(1)).keys() == before.keys()


def test_the_last_of_simultaneous_changes_does_not_depend_on_arrival(ledgers: Any) -> None:
    west, east = cells(1, 1, 3, 3), cells(4, 1, 6, 3)
    world = {0: SceneContent((west, east)), 1: SceneContent((cells(1, 1, 6, 3),))}
    found = []
    for order in ([0, 1], [1, 0]):
        ledger: Ledger = ledgers(gone_after=1)
        for number in order:
            ledger.arrive(world, [number])
        (row,) = ledger.rows("SELECT last_change, last_change_at FROM watch.objects_now")
        found.append((row["last_change"], row["last_change_at"]))
    assert found == [("merged", day(1))] * 2


def test_baseline_objects_have_no_last_change(ledgers: Any) -> None:
    ledger: Ledger = ledgers(gone_after=1)
    ledger.arrive(WORLD, [0, 1])
    rows = ledger.rows("SELECT last_change, count(*) AS objects FROM watch.objects_now GROUP BY 1 ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [("appeared", 1), (None, 2)]
    rows = ledger.rows("SELECT baseline, count(*) AS states FROM watch.object_history WHERE change = 'appeared'"
                       " AND recorded_to IS NULL GROUP BY 1 ORDER BY 1")  # fmt: skip
    assert [tuple(row.values()) for row in rows] == [(False, 1), (True, 2)]
