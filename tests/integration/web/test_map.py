"""What the map page asks: the real application on a real database."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from segwatch.flows.web.application import create_app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells, day
from tests.support.vector_tiles import decoded

LAKE = cells(1, 1, 4, 4)
WORLD = [SceneContent((LAKE,))] * 4


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    made: Ledger = ledgers()
    made.arrive(WORLD, [0, 1])
    return made


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst")), raise_server_exceptions=False) as made:
        yield made


def watch(client: TestClient) -> dict[str, Any]:
    (row,) = client.get("/api/watches").json()
    return dict(row)


def test_the_wording_is_the_one_in_force(client: TestClient, ledger: Ledger) -> None:
    ledger.instruct("segment water bodies")
    ledger.find([2])
    assert watch(client)["instruction"] == "segment water bodies", "asked, and not answered yet"
    ledger.answer_leased(WORLD)
    ledger.track()
    assert watch(client)["instruction"] == "segment water bodies"
    ledger.instruct("segment the lakes")
    assert watch(client)["instruction"] == "segment the lakes", "which had an answer before"


def test_a_scene_counts_once_however_often_it_is_looked_at(client: TestClient, ledger: Ledger) -> None:
    ledger.instruct("segment water bodies")
    ledger.arrive(WORLD, [1, 2])
    looks = ledger.rows("SELECT 1 FROM watch.coverage WHERE state = 'observed'")
    assert len(looks) == 4
    ledger.find([3])
    shown = watch(client)
    assert [shown[one] for one in ("observed", "pending", "skipped", "failed")] == [3, 1, 0, 0]


def test_objects_are_counted_only_where_that_is_asked(client: TestClient, ledger: Ledger) -> None:
    counted = watch(client)
    assert counted["objects"] == 1
    assert counted["hectares"] > 0
    (quick,) = client.get("/api/watches?counts=false").json()
    assert quick == counted | {"objects": None, "hectares": None}


def test_names_that_no_database_holds_are_refused(client: TestClient, ledger: Ledger) -> None:
    named = (
        "/api/alerts?watch=%00",
        "/api/reviews?watch=%00",
        "/api/scenes?watch=%00",
        "/feeds/%00/atom.xml",
    )
    for address in named:
        answer = client.get(address)
        assert answer.status_code == 422, address
        assert "the database cannot store" in answer.json()["detail"]


TILES = "/imagery/tiles/WebMercatorQuad"


@pytest.fixture
def scene(client: TestClient, ledger: Ledger) -> dict[str, str]:
    """Names one in the address of a tile."""
    return {"watch": "lakes", "scene": client.get("/api/scenes?watch=lakes").json()[0]["scene_id"]}


def test_tiles_that_are_none_are_refused(client: TestClient, scene: dict[str, str]) -> None:
    for tile in ("5000/0/0", "-5/0/0", "30/0/0", "5/99/0", "5/0/-1", f"5/{'9' * 300}/0", "x/0/0"):
        assert client.get(f"{TILES}/{tile}.png", params=scene).status_code in {404, 422}, tile
    for other in ("WebMercatorQuad/5/0/0.gif", "NoGrid/0/0/0.png"):
        assert client.get(f"/imagery/tiles/{other}", params=scene).status_code == 422, other
    assert client.get(f"{TILES}/5/0/0.png", params=scene | {"tilesize": "0"}).status_code == 422


def test_a_tile_is_as_the_model_sees_it_whatever_else_is_asked(
    client: TestClient, scene: dict[str, str]
) -> None:
    plain = client.get(f"{TILES}/5/0/0.png", params=scene)
    assert plain.status_code == 200
    for more in (
        {"algorithm": "contours"},
        {"colormap_name": "viridis"},
        {"color_formula": "gamma rgb 0"},
        {"bidx": "9"},
        {"expression": "b1/0"},
        {"rescale": "x"},
        {"buffer": "-1"},
    ):
        assert client.get(f"{TILES}/5/0/0.png", params=scene | more).content == plain.content, more


MAP = "/api/tiles/{}.mvt"
NOW = {"watch": "lakes", "at": "2024-02-01T00:00:00Z"}


def counted(layers: dict[str, list[Any]]) -> tuple[int, int]:
    """How many objects begin in a tile, and how many of them are outlined."""
    (summary,) = layers["summary"]
    return summary.properties["objects"], summary.properties["outlined"]


def test_what_is_smaller_than_a_pixel_is_a_dot_and_counted(client: TestClient, ledger: Ledger) -> None:
    ledger.arrive([SceneContent((LAKE,))] * 2 + [SceneContent((LAKE, cells(6, 6, 6.1, 6.1)))], [2])
    world = decoded(client.get(MAP.format("0/0/0"), params=NOW).content)
    assert counted(world) == (2, 0)
    assert "objects" not in world
    assert sum(one.properties["objects"] for one in world["dots"]) == 2
    near = decoded(client.get(MAP.format("11/1080/694"), params=NOW).content)
    assert counted(near) == (2, 1)
    assert len(near["objects"]) == len(near["dots"]) == 1
    assert near["dots"][0].properties["shows"] == "as before"


def judge(ledger: Ledger, kind: str, status: str, confidence: float) -> None:
    """Give the newest judgement of the changes of a kind another belief."""
    with ledger.engine.begin() as conn:
        conn.execute(
            text(
                "UPDATE segwatch.change_judgement j SET status = :status, confidence = :confidence"
                " FROM segwatch.change c WHERE c.id = j.change_id AND c.kind = :kind"
            ),
            {"kind": kind, "status": status, "confidence": confidence},
        )


def test_alerts_are_chosen_by_the_status_of_their_change(client: TestClient, ledger: Ledger) -> None:
    pond = cells(5, 1, 7, 3)
    ledger.arrive(
        [SceneContent(())] * 2 + [SceneContent((LAKE, pond)), SceneContent((cells(1, 1, 6, 4),))], [2, 3]
    )
    everything = client.get("/api/alerts?watch=lakes")
    kinds = {row["kind"] for row in everything.json()}
    (one, *others) = sorted(kinds)
    for kind in kinds:
        judge(ledger, kind, "confirmed", 0.97)
    judge(ledger, one, "refuted", 0.004)
    found = client.get(
        "/api/alerts", params={"watch": "lakes", "change_status": ["confirmed", "provisional"]}
    )
    assert {row["kind"] for row in found.json()} == set(others)
    counts = json.loads(found.headers["X-Status-Counts"])
    assert counts["refuted"] + counts["confirmed"] == len(everything.json())
    assert int(found.headers["X-Total-Count"]) == counts["confirmed"] == len(found.json())
    (refuted, *_) = client.get("/api/alerts", params={"watch": "lakes", "change_status": "refuted"}).json()
    assert (refuted["kind"], refuted["change_status"], refuted["confidence"]) == (one, "refuted", 0.004)
    assert client.get("/api/alerts?watch=lakes&change_status=maybe").status_code == 422


def test_tiles_show_how_sure_objects_and_their_changes_are(client: TestClient, ledger: Ledger) -> None:
    ledger.arrive([SceneContent((LAKE,))] * 2 + [SceneContent((LAKE, cells(6, 6, 7, 7)))], [2])
    judge(ledger, "appeared", "refuted", 0.004)
    at = {"watch": "lakes", "at": "2024-01-03T10:00:00Z"}
    near = decoded(client.get(MAP.format("11/1080/694"), params=at).content)
    shown = {one.properties["shows"]: one.properties for one in near["objects"]}
    assert (shown["appeared"]["change_status"], shown["appeared"]["change_confidence"]) == ("refuted", 0.004)
    assert 0 <= shown["appeared"]["confidence"] <= 1
    assert "change_status" not in shown["baseline"], "the baseline is not judged"
    assert near["summary"][0].properties["refuted"] == 1
    world = decoded(client.get(MAP.format("0/0/0"), params=at).content)
    assert {one.properties.get("change_status") for one in world["dots"]} == {"refuted", None}
    later = decoded(client.get(MAP.format("11/1080/694"), params=NOW).content)
    as_now = [one.properties["shows"] for one in later["objects"]]
    assert as_now == ["baseline"] * 2, "what was refuted is no earlier change"
    (now,) = ledger.rows("SELECT count(*) AS objects, count(last_change) AS changed FROM watch.objects_now")
    assert tuple(now.values()) == (2, 0)
    judge(ledger, "appeared", "confirmed", 0.9)
    (now,) = ledger.rows("SELECT array_agg(last_change ORDER BY last_change) AS kinds FROM watch.objects_now")
    assert now["kinds"] == ["appeared", None]


def test_beyond_the_most_the_largest_have_outlines_and_none_is_dropped(
    client: TestClient, ledger: Ledger
) -> None:
    ponds = tuple(cells(1 + x, 5 + y, 1.5 + x, 5.5 + y) for x in range(6) for y in range(2))
    ledger.arrive([SceneContent((LAKE,))] * 2 + [SceneContent((LAKE, *ponds))], [2])
    query = "SELECT watch.objects_tile('lakes', '2024-02-01Z', 11, 1080, 694, :most) AS tile"
    for most in (1, 5, 100):
        (row,) = ledger.rows(query, most=most)
        layers = decoded(bytes(row["tile"]))
        objects, outlined = counted(layers)
        assert (objects, outlined) == (13, min(13, most))
        assert sum(one.properties["objects"] for one in layers.get("dots", [])) == objects - outlined
        areas = [one.properties["area_m2"] for one in layers["objects"]]
        assert areas == sorted(areas, reverse=True)
    assert areas[0] > 4 * areas[1]


def test_tiles_of_a_watch_that_is_not_there_or_elsewhere_are_empty(
    client: TestClient, ledger: Ledger
) -> None:
    for place, more in (
        ("5/0/0", {}),
        ("0/0/0", {"watch": "other"}),
        ("0/0/0", {"at": "2020-01-01T00:00:00Z"}),
    ):
        answer = client.get(MAP.format(place), params={**NOW, **more})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-cache"
        assert counted(decoded(answer.content)) == (0, 0)
    for place in ("0/1/0", "99/0/0", "0/-1/0", "x/0/0"):
        assert client.get(MAP.format(place), params=NOW).status_code in {404, 422}, place
    assert client.get(MAP.format("0/0/0"), params={**NOW, "at": "yesterday or so"}).status_code == 422


def test_a_list_of_alerts_says_how_many_there_are(client: TestClient, ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((LAKE, cells(5, 5, 6, 6), cells(5, 1, 6, 2)))], [0, 1])
    answer = client.get("/api/alerts", params={"watch": "lakes", "limit": 2})
    assert (len(answer.json()), answer.headers["X-Total-Count"]) == (2, "3")
    assert b"3 of 3 alerts" in client.get("/feeds/lakes/atom.xml").content


def test_a_tile_says_what_it_cuts_what_changed_and_what_the_scene_did_not_see(
    client: TestClient, ledger: Ledger
) -> None:
    pond = cells(6, 6, 7, 7)
    ledger.arrive(
        [SceneContent((LAKE,))] * 2 + [SceneContent((LAKE, pond)), SceneContent((LAKE,), cells(0, 0, 5, 10))],
        [2, 3],
    )
    appeared = {"watch": "lakes", "at": "2024-01-03T10:00:00Z"}
    near = decoded(client.get(MAP.format("11/1080/694"), params=appeared).content)
    kinds = {one.properties["shows"]: one.properties for one in near["objects"]}
    assert kinds["appeared"]["change"] == "appeared"
    assert kinds["appeared"]["gone"] is False
    assert "change" not in kinds["baseline"]
    assert "cut" not in near
    assert "unseen" not in near, "this scene saw everything"
    (cut,) = decoded(client.get(MAP.format("0/0/0"), params=appeared).content)["cut"]
    assert (cut.properties["shown"], cut.properties["of"]) == (0, 2)
    later = decoded(client.get(MAP.format("11/1080/694"), params=NOW).content)
    (unseen,) = later["unseen"]
    assert unseen.properties["state"] == "observed"
    assert {one.properties["shows"] for one in later["objects"]} == {"baseline", "as before"}
    (whole,) = decoded(
        client.get(MAP.format("11/1080/694"), params={"watch": "lakes", "at": "2024-01-04T10:00:00Z"}).content
    )["unseen"]
    half = whole.geometry.area
    outlines = {one.properties["shows"]: one.geometry for one in later["objects"]}
    assert unseen.geometry.intersection(outlines["as before"]).area > 0, (
        "the pond lies where nothing was seen"
    )
    assert unseen.geometry.intersection(outlines["baseline"]).area == 0
    assert half == unseen.geometry.area
    before = {**NOW, "known_at": "2020-01-01T00:00:00Z"}
    assert "objects" not in decoded(client.get(MAP.format("11/1080/694"), params=before).content)


def test_a_tile_stays_the_same_until_its_watch_changes(client: TestClient, ledger: Ledger) -> None:
    address = MAP.format("11/1080/694")
    first = client.get(address, params=NOW)
    version = "SELECT watch.data_version('lakes') AS version"
    (was,) = ledger.rows(version)
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.observation SET lease_until = now(), attempts = attempts + 1"))
        conn.execute(text("UPDATE segwatch.watch_head SET name = name WHERE name = 'other'"))
    assert ledger.rows(version) == [was], "a lease shows nothing"
    known = {"If-None-Match": first.headers["etag"]}
    assert client.get(address, params=NOW, headers=known).status_code == 304
    assert client.get(address, params=NOW).content == first.content
    ledger.arrive([SceneContent((LAKE,))] * 2 + [SceneContent((LAKE, cells(6, 6, 7, 7)))], [2])
    (published,) = ledger.rows(version)
    judge(ledger, "appeared", "refuted", 0.004)
    assert ledger.rows(version) != [published], "also after a repair by hand"
    changed = client.get(address, params=NOW, headers=known)
    assert (changed.status_code, changed.headers["etag"] != first.headers["etag"]) == (200, True)
    assert len(decoded(changed.content)["objects"]) == 2
    assert client.get(address, params={**NOW, "watch": "other"}).status_code == 200


def test_a_tile_of_many_scenes_holds_for_each_what_its_own_tile_shows(
    client: TestClient, ledger: Ledger
) -> None:
    """A changing world, in which another model takes over and the AOI shrinks, of which a tile shows all dates."""
    pond, island = cells(6, 6, 7, 7), cells(8, 1, 8.2, 1.2)
    world = [
        *WORLD[:2],
        SceneContent((LAKE, pond)),
        SceneContent((cells(1, 1, 6, 4), pond, island), cells(0, 0, 9, 5)),
        SceneContent((cells(1, 1, 6, 4), island)),
        SceneContent((LAKE, cells(7, 7, 9, 9), island)),
        SceneContent((LAKE, pond)),
    ]
    ledger.arrive(world, [2, 3])
    ledger.model = "other@1"
    ledger.arrive(world, [4, 5, 6])
    ledger.cover(cells(0, 0, 5, 10))
    moments = [day(number).isoformat() for number in range(7)] + ["2100-01-01T00:00:00+00:00"]
    shown: set[str] = set()
    for place in ("11/1080/694", "7/67/43"):
        for first, last in ((0, 7), (2, 5), (4, 4)):
            span = {"watch": "lakes", "since": moments[first], "at": moments[last]}
            whole = decoded(client.get(MAP.format(place), params=span).content)
            for at in moments[first : last + 1]:
                own = decoded(client.get(MAP.format(place), params={"watch": "lakes", "at": at}).content)
                assert describe_at(whole, at) == describe_at(own), (place, first, last, at)
                shown |= {str(one.properties["shows"]) for one in own.get("objects", [])}
    assert shown >= {"baseline", "appeared", "reappeared", "disappeared", "gone", "as before"}


def describe_at(layers: dict[str, list[Any]], at: str | None = None) -> dict[str, Counter[str]]:
    """What a tile shows at a time, whatever else it holds; without a time, all of it.

    Dots are summed, because a dot counts only objects that appear and end together.
    """
    now = None if at is None else datetime.fromisoformat(at).timestamp() * 1000
    found: dict[str, Counter[str]] = {}
    for name, features in layers.items():
        for one in features:
            held = one.properties
            if now is None or held["begin"] <= now < held["end"]:
                left_out = {"begin", "end", "features"} | (
                    {"objects", "area_m2"} if name == "dots" else set()
                )
                words = str({key: held[key] for key in sorted(held.keys() - left_out)})
                counts = found.setdefault(name, Counter())
                if name == "dots":
                    counts[words] += held["objects"]
                else:
                    counts[words + one.geometry.wkt] += 1
    return found
