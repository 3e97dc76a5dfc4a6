"""What the map asks about objects, changes, alerts and places: the real application on a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import pytest
from fastapi.testclient import TestClient

from segwatch.db import tokens
from segwatch.db.tokens import Scope
from segwatch.flows.web import reviews, schemas
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.vector_tiles import decoded

LAKE, POND, POOL = cells(1, 1, 4, 4), cells(6, 6, 7, 7), cells(6, 1, 7, 2)
#: The pond appears on the third day; on the fourth the lake grew, and the east was not seen; then the pond is gone.
DAYS = [
    SceneContent((LAKE, POOL)),
    SceneContent((LAKE, POOL)),
    SceneContent((LAKE, POND, POOL)),
    SceneContent((cells(1, 1, 5, 5),), cells(0, 0, 5.5, 8)),
    SceneContent((cells(1, 1, 5, 5), POOL)),
    SceneContent((cells(1, 1, 5, 5), POOL)),
]
TIMES = [f"2024-01-0{day}T10:00:00Z" for day in range(1, 7)]


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    made: Ledger = ledgers()
    made.arrive(DAYS, range(6))
    return made


@pytest.fixture
def client(database: Database, ledger: Ledger) -> Iterator[TestClient]:
    app = create_app(
        database.url("segwatch_analyst"), ServerOptions(reviews=reviews.ReviewIntake(ledger.engine))
    )
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def make_token(ledger: Ledger, *scopes: Scope, watches: tuple[str, ...] | None = None) -> dict[str, str]:
    with ledger.engine.begin() as conn:
        made = tokens.create(conn, "ada", watch_names=watches, scopes=scopes, expires_at=None)
    return {"Authorization": f"Bearer {made.secret}"}


def test_two_times_are_compared_and_what_was_not_seen_is_not_unchanged(client: TestClient) -> None:
    def compare(since: int, until: int, **more: str) -> dict[str, dict[str, Any]]:
        asked = {"watch": "lakes", "from": TIMES[since], "to": TIMES[until], **more}
        answer = client.get("/api/compare", params=asked)
        assert answer.status_code == 200, answer.text
        schemas.Comparison.model_validate(answer.json())
        return {one["change"]: one for one in answer.json()["totals"]} | {"": answer.json()}

    first = compare(1, 2)
    assert first["appeared"]["objects"] == 1
    assert first["unchanged"]["objects"] == 2
    assert first["appeared"]["difference_m2"] == first["appeared"]["area_m2"] > 0
    assert first[""]["not_seen_m2"] == {"from": 0, "to": 0}
    cloudy = compare(2, 3)
    assert cloudy["grew"]["objects"] == 1
    assert sum(one["objects"] for one in cloudy[""]["totals"] if one["change"] == "not seen") == 2
    assert "unchanged" not in cloudy
    unseen = cloudy[""]["not_seen_m2"]
    assert unseen["from"] == 0
    assert 0.2 < unseen["to"] / cloudy[""]["area_m2"] < 0.5
    gone = compare(2, 5)
    assert gone["disappeared"]["objects"] == 1
    assert gone["disappeared"]["difference_m2"] == pytest.approx(-gone["disappeared"]["area_m2"])
    assert gone["unchanged"]["objects"] == 1, "the pool"
    west, south, east, north = POND.bounds
    box = f"{west},{south},{east},{north}"
    assert set(compare(2, 5, bbox=box)) == {"disappeared", ""}
    for bad in ("1,2,3", "a,b,c,d", "5,5,1,1", "nan,0,1,1"):
        refused = client.get(
            "/api/compare", params={"watch": "lakes", "from": TIMES[0], "to": TIMES[1], "bbox": bad}
        )
        assert (refused.status_code, "west,south" in refused.json()["detail"]) == (422, True), bad
    other = client.get("/api/compare", params={"watch": "other", "from": TIMES[0], "to": TIMES[1]})
    assert other.status_code == 404

    address = "/api/compare/11/1080/694.mvt"
    tile = client.get(address, params={"watch": "lakes", "from": TIMES[2], "to": TIMES[3]})
    layers = decoded(tile.content)
    kinds = {one.properties["change"] for one in layers["changes"]}
    assert kinds == {"grew", "not seen"}
    assert {one.properties["when"] for one in layers["unseen"]} == {"to"}
    known = {"If-None-Match": tile.headers["etag"]}
    assert (
        client.get(
            address, params={"watch": "lakes", "from": TIMES[2], "to": TIMES[3]}, headers=known
        ).status_code
        == 304
    )
    world = decoded(
        client.get(
            "/api/compare/0/0/0.mvt", params={"watch": "lakes", "from": TIMES[2], "to": TIMES[3]}
        ).content
    )
    (cut,) = world["cut"]
    assert (cut.properties["shown"], cut.properties["of"]) == (0, 3)
    assert sum(one.properties["objects"] for one in world["dots"]) == 3


def test_an_object_has_a_history(client: TestClient, ledger: Ledger) -> None:
    rows = ledger.rows("SELECT track_id, area_m2 FROM watch.objects_now ORDER BY area_m2 DESC")
    lake = rows[0]["track_id"]
    answer = client.get(f"/api/objects/{lake}/history", params={"watch": "lakes"})
    assert answer.status_code == 200, answer.text
    schemas.ObjectHistory.model_validate(answer.json())
    seen = answer.json()["observations"]
    assert [one["at"][:10] for one in seen] == [at[:10] for at in TIMES]
    assert [one["change"] for one in seen if one["change"]] == ["appeared", "grew"]
    assert [one["baseline"] for one in seen] == [True] + [False] * 5
    assert seen[-1]["area_m2"] == pytest.approx(rows[0]["area_m2"])
    assert {one["item_href"] for one in seen} != {None}
    bounded = [one for one in seen if one["area_low_m2"] is not None]
    assert all(one["area_low_m2"] <= one["area_m2"] <= one["area_high_m2"] for one in bounded)
    assert int(answer.headers["X-Total-Count"]) == 6
    newest = client.get(f"/api/objects/{lake}/history?limit=2").json()["observations"]
    assert newest == seen[-2:]
    assert client.get(f"/api/objects/{lake}/history?watch=other").status_code == 404
    gone = ledger.rows("SELECT track_id FROM watch.changes WHERE kind = 'disappeared'")
    last = client.get(f"/api/objects/{gone[0]['track_id']}/history").json()["observations"][-1]
    assert (last["alive"], last["area_m2"], last["change"]) == (False, 0, "disappeared")
    few = make_token(ledger, Scope.READ, watches=("lakes",))
    assert client.get(f"/api/objects/{lake}/history", headers=few).status_code == 200
    with ledger.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE segwatch.access_token SET watches = '{others}'")
    assert client.get(f"/api/objects/{lake}/history", headers=few).status_code == 404


def test_alerts_are_filtered_sorted_paged_and_marked_together(client: TestClient, ledger: Ledger) -> None:
    everything = client.get("/api/alerts?watch=lakes")
    rows = everything.json()
    for row in rows:
        schemas.AlertRow.model_validate(row)
    kinds = [row["kind"] for row in rows]
    assert len(rows) >= 2
    assert json.loads(everything.headers["X-Kind-Counts"]) == {
        one: kinds.count(one) for one in sorted(set(kinds))
    }
    assert json.loads(everything.headers["X-Mark-Counts"])["open"] > 0
    assert "Link" not in everything.headers

    def ask(**more: Any) -> list[dict[str, Any]]:
        answer = client.get("/api/alerts", params={"watch": "lakes", **more})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    assert {row["kind"] for row in ask(kind="grew")} == {"grew"}
    assert ask(target="fire") == []
    assert ask(rule="other") == []
    assert {row["valid_at"][:10] for row in ask(since=TIMES[3])} <= {one[:10] for one in TIMES[3:]}
    assert len(ask(since=TIMES[3])) + len(ask(until=TIMES[3])) == len(rows)
    west, south, east, north = POND.bounds
    assert {row["track_id"] for row in ask(bbox=f"{west},{south},{east},{north}")} < {
        row["track_id"] for row in rows
    }
    oldest = [row["valid_at"] for row in ask(sort="oldest")]
    assert oldest == sorted(oldest)
    sizes = [abs(row["after_m2"] - row["before_m2"]) for row in ask(sort="area")]
    assert sizes == sorted(sizes, reverse=True)
    sure = [row["confidence"] or -1 for row in ask(sort="confidence")]
    assert sure == sorted(sure, reverse=True)
    for sort in ("newest", "oldest", "confidence", "area"):
        page, paged = client.get(f"/api/alerts?watch=lakes&limit=1&sort={sort}"), []
        while page.json():
            paged += page.json()
            if "next" not in page.links:
                break
            page = client.get(page.links["next"]["url"])
        assert [one["alert_id"] for one in paged] == [one["alert_id"] for one in ask(sort=sort)], sort
    assert client.get("/api/alerts?watch=lakes&after=x").status_code == 422
    assert client.get("/api/alerts?watch=lakes&sort=x").status_code == 422

    token = make_token(ledger, Scope.ACKNOWLEDGE)
    ids = [row["alert_id"] for row in ask(mark="open")]
    body = {"alerts": ids, "mark": "acknowledged"}
    assert client.post("/api/alerts/marks", json=body).status_code == 401
    done = client.post("/api/alerts/marks", json=body, headers=token)
    assert done.json() == {"mark": "acknowledged", "marked": len(ids), "unchanged": 0}
    again = client.post("/api/alerts/marks", json=body, headers=token)
    assert again.json() == {"mark": "acknowledged", "marked": 0, "unchanged": len(ids)}
    assert {row["alert_id"] for row in ask(mark="acknowledged")} == set(ids)
    assert ledger.rows("SELECT DISTINCT person FROM segwatch.alert_mark") == [{"person": "ada"}]
    unknown = {"alerts": [ids[0], "00000000-0000-0000-0000-000000000000"], "mark": "resolved", "person": "bo"}
    refused = client.post("/api/alerts/marks", json=unknown, headers=token)
    assert (refused.status_code, "no alert was marked" in refused.json()["detail"]) == (404, True)
    assert ask(mark="resolved") == [one for one in rows if one["status"] == "resolved"]
    for bad in ({**body, "alerts": []}, {**body, "mark": "snoozed"}, {**body, "more": 1}):
        assert client.post("/api/alerts/marks", json=bad, headers=token).status_code == 422


def test_why_there_is_no_alert_is_said_in_a_sentence(client: TestClient, ledger: Ledger) -> None:
    def ask(shape: Any, **more: str) -> dict[str, Any]:
        point = shape.centroid
        answer = client.get("/api/why-not", params={"watch": "lakes", "lon": point.x, "lat": point.y, **more})
        assert answer.status_code == 200, answer.text
        schemas.WhyNot.model_validate(answer.json())
        said: dict[str, Any] = answer.json()
        return said

    nothing = ask(cells(0, 5, 1, 6))
    assert [one["reason"] for one in nothing["scenes"]] == ["nothing found"] * 6
    assert "nothing was found" in nothing["sentence"]
    assert all(one["scene"] for one in nothing["scenes"])
    hidden = ask(cells(6, 4, 7, 5), **{"from": TIMES[3], "to": TIMES[3]})
    assert [one["reason"] for one in hidden["scenes"]] == ["cloudy"]
    assert hidden["sentence"].startswith("The scene: cloud")
    assert "No scene" in ask(LAKE, to="2020-01-01T00:00:00Z")["sentence"]
    assert client.get("/api/why-not?watch=lakes&lon=999&lat=0").status_code == 422


def test_places_coordinates_ids_and_watches_are_found(client: TestClient, ledger: Ledger) -> None:
    def find(wanted: str, **more: str) -> list[dict[str, Any]]:
        while (answer := client.get("/api/search", params={"q": wanted, **more})).status_code == 503:
            assert "try again" in answer.json()["detail"]  # the table of places is being read
        assert answer.status_code == 200, answer.text
        for one in answer.json():
            schemas.Found.model_validate(one)
        found: list[dict[str, Any]] = answer.json()
        return found

    (point,) = find("46.5, -11.25")
    assert (point["kind"], point["lon"], point["lat"]) == ("coordinates", -11.25, 46.5)
    (point,) = find("46°30'N 11°15'36\"W")
    assert (point["lon"], point["lat"]) == (pytest.approx(-11.26), 46.5)
    towns = find("zurich")
    assert towns[0]["label"] == "Zürich, Switzerland"
    assert find("Xyzzyq") == []
    (watch,) = [one for one in find("lake") if one["kind"] == "watch"]
    assert (watch["id"], len(watch["bbox"])) == ("lakes", 4)
    (alert, *_) = ledger.rows("SELECT alert_id, track_id FROM watch.alerts")
    for kind, column in (("object", "track_id"), ("alert", "alert_id")):
        prefix = str(alert[column])[:9]
        assert str(alert[column]) in [one["id"] for one in find(prefix) if one["kind"] == kind]
        assert [one for one in find(prefix, watch="other") if one["kind"] == kind] == []
    assert client.get("/api/search?q=").status_code == 422


def test_what_is_shown_is_downloaded(client: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    def fetch(form: str, **more: str) -> Any:
        answer = client.get("/api/watches/lakes/download", params={"format": form, **more})
        assert answer.status_code == 200, answer.text
        assert f".{form}" in answer.headers["content-disposition"]
        return answer

    now = ledger.rows("SELECT track_id, area_m2 FROM watch.objects_now ORDER BY track_id")
    for form in ("gpkg", "geojson"):
        file = tmp_path / f"shown.{form}"
        file.write_bytes(fetch(form).content)
        read = geopandas.read_file(file)
        assert list(read["id"]) == [str(row["track_id"]) for row in now], form
        assert list(read["area_m2"]) == pytest.approx([row["area_m2"] for row in now]), form
    lines = fetch("csv", at=TIMES[2]).text.splitlines()
    assert len(lines) == 1 + 3, "the pond was there then"
    west, south, east, north = POND.bounds
    boxed = fetch("csv", at=TIMES[2], bbox=f"{west},{south},{east},{north}")
    assert boxed.headers["X-Total-Count"] == "1"
    assert fetch("csv", target="fire").headers["X-Total-Count"] == "0"
    assert client.get("/api/watches/lakes/download?format=pmtiles").status_code == 422
    assert client.get("/api/watches/other/download?format=csv").status_code == 404
