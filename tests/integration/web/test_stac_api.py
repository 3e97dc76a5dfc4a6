"""The STAC API: what pystac-client and another segwatch find in it, and what a reader may not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pystac_client
import pytest
from shapely.geometry import mapping, shape

from segwatch.db import reviews, watches
from segwatch.db.tokens import Scope
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from segwatch.geo.sources.search.item_search import search
from segwatch.geo.types.scene import Item
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.integration.web.test_api import make_token
from tests.invariants.conftest import EVERYTHING, Ledger, SceneContent, cells, day
from tests.support.live_web import live
from tests.support.stac_schemas import make_checker

FAR = cells(7, 7, 8, 8)
OBSERVED = 4


@pytest.fixture
def told(ledgers: Any) -> Ledger:
    """A ledger with four observations of lakes, one of another watch, and a verdict."""
    ledger: Ledger = ledgers()
    seen = SceneContent((LAKE,))
    ledger.arrive([SceneContent(()), seen, seen, replace(seen, footprint=LAKE.buffer(0.001))], [0, 1, 2, 3])
    lakes, ledger.revision = ledger.revision, ledger.also_watch("ponds", "https://stac.example")
    ledger.arrive([SceneContent((LAKE,))], [0])
    ledger.revision = lakes
    (track,) = ledger.rows("SELECT track_id FROM watch.objects_now WHERE watch = 'lakes'")
    with ledger.engine.begin() as conn:
        reviews.decide(conn, track["track_id"], reviews.Verdict.CONFIRMED, reviewer="ada", reason="seen")
    return ledger


@pytest.fixture
def address(database: Database, told: Ledger) -> Iterator[str]:
    with live(create_app(database.url("segwatch_analyst"), ServerOptions())) as made:
        yield f"{made}/stac"


def test_pystac_client_and_another_segwatch_find_everything(
    address: str, told: Ledger, tmp_path: Path
) -> None:
    client = pystac_client.Client.open(address)
    assert {one.id for one in client.get_collections()} == {"lakes", "ponds"}
    crawled = {(one.collection_id, one.id) for one in client.get_items(recursive=True)}
    searched = {(one.collection_id, one.id): one for one in client.search(limit=2).items()}
    assert crawled == searched.keys()
    own = {name: item for (collection, name), item in searched.items() if collection == "lakes"}
    assert {"model-tiny-0123456789ab", "reviewed"} < own.keys()
    assert len(own) == OBSERVED + 2, "pages neither repeat nor omit items"
    checker = make_checker(tmp_path)
    for document in (httpx.get(address).json(), *httpx.get(f"{address}/collections").json()["collections"]):
        checker.check(document)
    for item in searched.values():
        checker.check(httpx.get(str(item.get_self_href())).json())
    latest = max((one for one in own.values() if one.datetime), key=lambda one: str(one.datetime))
    assert latest.properties["segwatch:targets"] == ["water"]
    model = next(link for link in latest.links if "model-tiny" in str(link.target))
    assert httpx.get(str(model.target)).json()["properties"]["mlm:name"] == "tiny"
    polygons = httpx.get(latest.assets["detections"].href).json()["features"]
    assert [shape(one["geometry"]).equals(LAKE) for one in polygons] == [True]
    reviewed = httpx.get(own["reviewed"].assets["labels"].href).json()["features"]
    assert [one["properties"]["verdict"] for one in reviewed] == ["confirmed"]

    with told.engine.connect() as conn:
        profile = watches.load_current(conn, "lakes").watch.profile
    found = list(search(address, replace(profile, collection="lakes"), EVERYTHING, day(0), day(9)))
    items = sorted((one for one in found if isinstance(one, Item)), key=lambda one: one.acquired_at)
    assert [one.acquired_at for one in items] == [day(n) for n in range(OBSERVED)]
    assert [one.assets["red"] for one in items] == [f"https://img.example/{n}.tif" for n in range(OBSERVED)]


def _names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["features"]]


def test_searches_by_place_time_and_id(address: str) -> None:
    around = f"{address}/search"
    every = _names(httpx.get(around, params={"collections": "lakes"}))
    assert every[:4] == sorted(every[:4], reverse=True), "the latest acquisition comes first"
    far = ",".join(map(str, FAR.bounds))
    far_ones = _names(httpx.get(around, params={"collections": "lakes", "bbox": far}))
    assert [name for name in every if name not in far_ones] == [every[0], "reviewed"]
    posted = httpx.post(around, json={"collections": ["lakes"], "intersects": mapping(FAR), "limit": 100})
    assert _names(posted) == far_ones
    assert _names(httpx.get(around, params={"ids": f"{every[1]},reviewed,nothing"})) == [every[1], "reviewed"]
    second = f"{day(1):%Y-%m-%d}"
    assert [name[:10] for name in _names(httpx.get(f"{address}/collections/lakes/items?datetime={second}"))] == [
        second, "model-tiny",
    ]  # fmt: skip
    assert _names(httpx.post(around, json={"collections": ["nowhere"]})) == []
    page = httpx.get(around, params={"limit": 1}).json()
    assert (page["numberReturned"], [one["rel"] for one in page["links"]]) == (1, ["root", "self", "next"])


def test_what_it_says_about_itself(address: str) -> None:
    landing = httpx.get(address).json()
    assert httpx.get(f"{address}/conformance").json()["conformsTo"] == landing["conformsTo"]
    links = [(one["rel"], one["href"]) for one in landing["links"]]
    assert {"self", "root", "conformance", "data", "search", "service-desc", "child"} == {
        rel for rel, _ in links
    }
    for rel, href in links:
        assert httpx.get(href).status_code == 200, (rel, href)
    (lakes,) = [
        one for one in httpx.get(f"{address}/collections").json()["collections"] if one["id"] == "lakes"
    ]
    assert lakes["extent"]["spatial"]["bbox"] == [list(EVERYTHING.bounds)]
    assert lakes["extent"]["temporal"]["interval"][0][0] == "2024-01-01T10:00:00Z"


def test_a_reader_sees_only_the_watches_of_the_token(address: str, told: Ledger, database: Database) -> None:
    few = make_token(told, Scope.READ, name="few", watches=("ponds",))
    item = _names(httpx.get(f"{address}/collections/lakes/items"))[0]
    assert {one["collection"] for one in httpx.get(f"{address}/search", headers=few).json()["features"]} == {
        "ponds"
    }
    assert [one["id"] for one in httpx.get(f"{address}/collections", headers=few).json()["collections"]] == [
        "ponds"
    ]
    for path in (
        "collections/lakes", "collections/lakes/items", f"collections/lakes/items/{item}",
        f"collections/lakes/items/{item}/detections.geojson", f"collections/ponds/items/{item}/detections.geojson",
        "collections/lakes/items/reviewed/objects.geojson", f"collections/ponds/items/{item}",
    ):  # fmt: skip
        assert httpx.get(f"{address}/{path}", headers=few).status_code == 404, path
    with live(create_app(database.url("segwatch_analyst"), ServerOptions(closed=True))) as closed:
        assert httpx.get(f"{closed}/stac/search").status_code == 401
        assert httpx.post(f"{closed}/stac/search", json={}).status_code == 401
        assert httpx.post(f"{closed}/stac/search", json={}, headers=few).status_code == 200


REFUSED = [
    "bbox=1,2,3", "bbox=a,b,c,d", "bbox=1,91,2,92", "datetime=yesterday", "datetime=2024-02-01/2024-01-01", "limit=0",
    "limit=x", "after=x", "sortby=datetime", "intersects=x", "intersects=%7B%7D", "bbox=1,2,3,4&intersects=%7B%7D",
    "after=further:%00&x=1",
]  # fmt: skip


BODIES = (b"x", b"[]", b'{"limit": true}', b'{"ids": [1]}', b'{"bbox": "1,2,3,4"}', b'{"filter": 1}')


def test_what_cannot_be_answered_is_refused_and_says_why(address: str) -> None:
    for query in REFUSED:
        answer = httpx.get(f"{address}/search?{query}")
        kind = answer.headers["content-type"]
        assert (answer.status_code, kind) == (400, "application/problem+json"), (query, answer.text)
        assert answer.json()["detail"]
    for body in BODIES:
        assert httpx.post(f"{address}/search", content=body).status_code == 400, body
