"""The static catalog: valid, complete, and read by another segwatch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyogrio
import pystac
import pytest
import shapely

from segwatch.db import reviews
from segwatch.flows.errors import ConfigError
from segwatch.flows.export import stac
from segwatch.flows.export.tables import Request
from segwatch.geo.sources.search.item_search import search
from segwatch.geo.types.scene import Item
from tests.invariants.conftest import EVERYTHING, Ledger, SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too
from tests.support.serving import Answer, serving
from tests.support.stac_schemas import make_checker

FIRST, SECOND = cells(1, 1, 2, 2), cells(5, 5, 7, 7)


def test_a_catalog_that_others_read_and_crawl(ledgers: Any, tmp_path: Path) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((FIRST,)), SceneContent((FIRST, SECOND))], [0, 1, 2])
    (track, *_) = (
        row["track_id"] for row in ledger.rows("SELECT track_id FROM watch.objects_now ORDER BY 1")
    )
    with ledger.engine.begin() as conn:
        reviews.decide(conn, track, reviews.Verdict.CONFIRMED, reviewer="ada", reason="seen on the ground")
    target = tmp_path / "catalog"
    done = stac.export_catalog(ledger.engine, Request("lakes"), target)
    assert (done.rows, done.path) == (3, target)

    root = pystac.Catalog.from_file(str(target / "catalog.json"))
    items = {item.id: item for item in root.get_items(recursive=True)}
    checker = make_checker(tmp_path / "schemas")
    for path in target.rglob("*.json"):
        if path.name != "segwatch-export.json":
            checker.check(json.loads(path.read_text(encoding="utf-8")))
    broken = {**json.loads((target / "lakes" / "items" / "reviewed.json").read_text(encoding="utf-8"))}
    del broken["properties"]["label:type"]
    with pytest.raises(AssertionError, match="label:type"):
        checker.check(broken)
    observed = [item for name, item in items.items() if name[:4] == "2024"]
    assert [item.datetime for item in sorted(observed, key=lambda one: one.id)] == [day(0), day(1), day(2)]
    assert len(items) == 5, "observations, the model and the reviewed objects"
    for item in observed:
        links = [str(link.get_absolute_href()) for link in item.links if link.rel == "derived_from"]
        assert links[0].startswith("https://stac.example/c/items/")
        assert Path(links[1]).is_file(), "the model's item"
        assert item.properties["processing:software"]["tiny"] == "0123456789ab"
        path = Path(str(item.assets["detections"].get_absolute_href()))
        assert len(pyogrio.read_dataframe(path)) == item.properties["segwatch:detections"]
    shapes = pyogrio.read_dataframe(
        Path(str(max(observed, key=lambda one: one.id).assets["detections"].get_absolute_href()))
    )
    assert shapely.equals(shapes.union_all(), shapely.union(FIRST, SECOND))
    model = items["model-tiny-0123456789ab"]
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= model.properties.keys()
    assert items["reviewed"].properties["label:classes"][1] == {"name": "verdict", "classes": ["confirmed"]}
    reviewed = pyogrio.read_dataframe(Path(str(items["reviewed"].assets["labels"].get_absolute_href())))
    assert list(reviewed.verdict) == ["confirmed"]

    found = _crawl(target, ledger)
    assert [(one.acquired_at, one.footprint.equals(EVERYTHING)) for one in found] == [
        (day(n), True) for n in range(3)
    ]
    assert [one.assets["red"] for one in found] == [f"https://img.example/{n}.tif" for n in range(3)]

    stac.export_catalog(ledger.engine, Request("lakes", at=day(1)), target, force=True)
    assert len(list(target.rglob("*.geojson"))) == 2, (
        "the old catalog is gone, and nobody had reviewed anything then"
    )
    (tmp_path / "mine").mkdir()
    for wrong, words in (
        (Request("lakes", changes=True), "--changes"), (Request("lakes", known_at=day(-1)), "no observation"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            stac.export_catalog(ledger.engine, wrong, tmp_path / "none")
    with pytest.raises(ConfigError, match="no export wrote"):
        stac.export_catalog(ledger.engine, Request("lakes"), tmp_path / "mine", force=True)


def _crawl(folder: Path, ledger: Ledger) -> list[Item]:
    """Search the catalog over HTTP as another segwatch does."""
    answers: dict[str, Answer] = {
        f"/{path.relative_to(folder)}": (200, {"content-type": "application/json"}, path.read_bytes())
        for path in folder.rglob("*.json")
    }
    from segwatch.db import watches

    with ledger.engine.connect() as conn:
        profile = watches.load_current(conn, "lakes").watch.profile
    with serving(answers) as url:
        results = list(
            search(f"{url}/catalog.json", replace(profile, collection="lakes"), EVERYTHING, day(0), day(9))
        )
    return sorted((one for one in results if isinstance(one, Item)), key=lambda one: one.acquired_at)
