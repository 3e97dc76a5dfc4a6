"""Static catalogs: links are followed within the area and period, and no further."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from shapely.geometry import box
from sqlalchemy import Engine

from segwatch.db import watches
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.geo.sources import profiles
from segwatch.geo.sources.search.item_search import RejectedItem, search
from segwatch.geo.types.scene import Item
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.serving import Answer, serving

AREA = box(0.2, 0.2, 0.8, 0.8)
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 31, tzinfo=UTC)


def item(identity: str, at: str = "2024-05-01T10:00:00Z", **parts: Any) -> dict[str, Any]:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": identity,
        "collection": "visual",
        "geometry": square,
        "properties": {"datetime": at},
        "links": [{"rel": "self", "href": "https://elsewhere.example.org/moved.json"}],
        "assets": {"visual": {"href": f"./{identity}.tif"}},
        **parts,
    }


def collection(bbox: list[float], first: str | None, last: str | None, *links: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "id": "visual",
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[first, last]]}},
        "links": [{"rel": "item", "href": link} for link in links],
    }


def catalog(*links: str) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "id": "files",
        "stac_version": "1.0.0",
        "description": "files",
        "links": [{"rel": "child", "href": link} for link in links],
    }


def found(files: dict[str, Any], path: str) -> tuple[list[Item | RejectedItem], str]:
    answers: dict[str, Answer] = {
        name: (200, {"content-type": "application/json"}, json.dumps(content).encode())
        for name, content in files.items()
    }
    with serving(answers) as url:
        return list(search(f"{url}{path}", profiles.load("rgb-cog"), AREA, START, END)), url


def test_links_are_followed_within_the_extents() -> None:
    files = {
        "/catalog.json": catalog("./here/collection.json", "./far/collection.json", "./old/collection.json"),
        "/here/collection.json": collection(
            [0, 0, 1, 1], "2024-01-01T00:00:00Z", None, "a.json", "../b.json"
        ),
        # the files behind these two do not exist: reading them would give a rejection
        "/far/collection.json": collection([50, 50, 51, 51], None, None, "gone.json"),
        "/old/collection.json": collection([0, 0, 1, 1], None, "2001-01-01T00:00:00Z", "gone.json"),
        "/here/a.json": item("a"),
        "/b.json": item("b", "2019-05-01T10:00:00Z"),
    }
    results, url = found(files, "/catalog.json")
    (one,) = results
    assert isinstance(one, Item)
    assert one.assets == {"visual": f"{url}/here/a.tif"}
    assert one.href == f"{url}/here/a.json"


def test_circular_links_end_and_broken_ones_are_reported() -> None:
    files = {
        "/catalog.json": catalog(
            "./catalog.json", "./again.json", "./missing.json", "http://127.0.0.2/elsewhere.json"
        ),
        "/again.json": catalog("./catalog.json", "./a.json"),
        "/a.json": item("a"),
    }
    results, _ = found(files, "/catalog.json")
    assert [one.id for one in results if isinstance(one, Item)] == ["a"]
    reasons = {one.item_id: one.reason for one in results if isinstance(one, RejectedItem)}
    assert set(reasons) == {"missing.json", "http://127.0.0.2/elsewhere.json"}
    assert "not allowed" in reasons["http://127.0.0.2/elsewhere.json"]


def test_a_single_item_and_a_file_of_items() -> None:
    results, _ = found({"/a.json": item("a")}, "/a.json")
    assert [type(one) for one in results] == [Item]
    features = [item("a"), item("b", geometry=None), "no item"]
    results, _ = found({"/all.geojson": {"type": "FeatureCollection", "features": features}}, "/all.geojson")
    assert [type(one) for one in results] == [Item, RejectedItem]


def test_years_are_searched_by_reading_each_file_once(engine: Engine) -> None:
    """A static catalog cannot be searched by year, so its files are read once."""
    asked: Counter[str] = Counter()
    names = [f"{year}.json" for year in range(2015, 2025)]
    files = {f"/{name}": item(name, f"{name[:4]}-05-01T10:00:00Z") for name in names}
    files["/catalog.json"] = catalog(*names)
    answers: dict[str, Answer] = {
        name: (200, {}, json.dumps(content).encode()) for name, content in files.items()
    }
    with serving(answers, asked) as url:
        start = datetime(2015, 1, 1, tzinfo=UTC)
        profile = profiles.load("rgb-cog")
        watch = Watch("w", Instruction("segment the water"), AREA, profile, f"{url}/catalog.json", start)
        with engine.begin() as conn:
            watches.apply(conn, watch)
        report = discover_watch(engine, "w", model_version="m@1", now=END)
    assert report.queued == len(names)
    assert asked == Counter(dict.fromkeys(answers, 1))


def test_an_unstorable_link_is_recorded_and_the_others_observed(engine: Engine) -> None:
    files = {
        "/catalog.json": catalog("a\x00\ud800.json", "b" * 5000, "good.json"),
        "/good.json": item("good"),
    }
    answers: dict[str, Answer] = {name: (200, {}, json.dumps(one).encode()) for name, one in files.items()}
    with serving(answers) as url:
        profile = profiles.load("rgb-cog")
        watch = Watch("w", Instruction("segment the water"), AREA, profile, f"{url}/catalog.json", START)
        with engine.begin() as conn:
            watches.apply(conn, watch)
        report = discover_watch(engine, "w", model_version="m@1", now=END)
    assert (report.queued, report.rejected) == (1, 2)
