"""Ten thousand malformed items through one watch: each is used, or rejected and recorded with its reason.

Hypothesis makes every fifteenth from STAC's JSON schemas and from recorded items, with parts taken away or replaced by
anything; the others are these with a further part taken away or replaced by a part of another one, which takes a
fraction of the time. They come to a real ledger from a catalog that is a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from shapely.geometry import box
from sqlalchemy import Engine, text

from segwatch.db import watches
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.geo.errors import BadItem, UnsafeHref
from segwatch.geo.items import parse_item
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import hrefs
from segwatch.geo.text.storable import shorten, to_storable
from segwatch.geo.types.scene import Item
from segwatch.geo.types.source import Profile
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.paths import DATA
from tests.support.serving import serving
from tests.support.stac_schema import damaged, items, junk, numbers, texts

DATA = DATA / "stac"
START, END = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 12, 31, tzinfo=UTC)
BASE = "https://stac.example.org/items/x"

#: Items from each that Hypothesis makes, itself included.
FROM_EACH = 15

positions = st.lists(numbers, min_size=0, max_size=4)
geometries = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["Polygon", "MultiPolygon", "Point", "LineString", "GeometryCollection", "Circle"]
        ),
        "coordinates": st.lists(st.lists(positions, max_size=6), max_size=3) | junk,
    },
    optional={"geometries": junk},
)
PROPERTIES = [
    "datetime",
    "start_datetime",
    "end_datetime",
    "updated",
    "platform",
    "eo:cloud_cover",
    "grid:code",
]
links = st.fixed_dictionaries({"rel": st.just("self"), "href": junk})
assets = st.fixed_dictionaries({"href": junk}, optional={"alternate": junk}) | junk
made_up = st.fixed_dictionaries(
    {},
    optional={
        "id": texts | junk,
        "type": st.just("Feature"),
        "collection": st.just("visual") | junk,
        "geometry": geometries | junk,
        "properties": st.dictionaries(st.sampled_from(PROPERTIES), junk, max_size=5) | junk,
        "links": st.lists(links, max_size=2) | junk,
        "assets": st.fixed_dictionaries({"visual": assets}) | junk,
    },
)
by_schema = items().flatmap(damaged)


def _real(name: str) -> st.SearchStrategy[Any]:
    document = json.loads((DATA / name).read_text(encoding="utf-8"))
    first = document.get("response", document)["features"][0]
    return st.builds(lambda: deepcopy(first)).flatmap(damaged)


def _judged(document: Any, profile: Profile) -> Item | None:
    """Parse an item as discovery does; a rejection has its id and the reason."""
    try:
        item = parse_item(document, profile, base=BASE)
    except BadItem as error:
        said = error.item_id, error.reason
    else:
        _sound(item, profile)
        return item
    assert all(said)
    return None


def _sound(item: Item, profile: Profile) -> None:
    assert item.footprint.is_valid
    assert item.footprint.area > 0
    west, south, east, north = item.footprint.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90
    assert item.acquired_at.tzinfo is not None
    assert set(item.assets) == set(profile.assets())
    (scene,) = group_scenes([item, item])
    assert scene.items == (item,)
    for href in item.assets.values():
        with suppress(UnsafeHref):
            hrefs.check(href, ["data.example.org"])
            assert href.startswith(("http://data.example.org", "https://data.example.org"))


def _drawn(documents: st.SearchStrategy[Any], count: int, profile: Profile) -> list[tuple[Any, bool]]:
    """Item documents, and whether each can be used."""
    made: list[Any] = []

    @given(documents)
    @settings(
        max_examples=count // FROM_EACH,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def draw(document: Any) -> None:
        made.append(document)

    draw()
    found: list[tuple[Any, bool]] = []
    for document in _vary(made, np.random.default_rng(count)):
        if isinstance(document.get("id"), str):
            # equal ids would be versions of one item
            document["id"] = f"{len(found)} {document['id']}"
        try:
            found.append((document, _judged(document, profile) is not None))
        except Exception as error:
            error.add_note(repr(document))
            raise
    return found


def _vary(documents: list[Any], rng: np.random.Generator) -> Iterator[Any]:
    """Each document, and copies with one part taken away or replaced by a part of another document."""
    for document in documents:
        for _ in range(FROM_EACH - 1):
            yield _change_part(deepcopy(document), _list_parts(documents[rng.integers(len(documents))]), rng)
        yield document


def _change_part(document: Any, others: list[Any], rng: np.random.Generator) -> Any:
    holder, key = document, None
    while holder and (key is None or rng.random() < 0.7):
        inside = holder if key is None else holder[key]
        if not isinstance(inside, dict | list) or not inside:
            break
        holder = inside
        key = (list(holder) if isinstance(holder, dict) else range(len(holder)))[rng.integers(len(holder))]
    if key is not None and rng.random() < 0.4:
        del holder[key]
    elif key is not None:
        holder[key] = deepcopy(others[rng.integers(len(others))])
    return document


def _list_parts(document: Any) -> list[Any]:
    """The document's parts at every depth, itself first."""
    inside = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    )
    return [document, *(part for one in inside for part in _list_parts(one))]


@pytest.mark.parametrize(
    ("documents", "count", "profile"),
    [
        (by_schema, 510, "rgb-cog"),
        (made_up, 4995, "rgb-cog"),
        (_real("pc_s2_antimeridian.json"), 2250, "sentinel2-l2a-planetary"),
        (_real("pc_naip_page1.json"), 2250, "naip-planetary"),
    ],
    ids=["by schema", "made up", "real Sentinel-2", "real NAIP"],
)
def test_every_item_is_used_or_rejected_and_none_ends_the_run(
    engine: Engine, documents: st.SearchStrategy[Any], count: int, profile: str
) -> None:
    loaded = profiles.load(profile)
    drawn = _drawn(documents, count, loaded)
    assert len(drawn) >= 0.9 * count
    body = json.dumps({"type": "FeatureCollection", "features": [one for one, _ in drawn]}).encode()
    with serving({"/items.json": (200, {"content-type": "application/json"}, body)}) as url:
        everywhere = box(-180, -90, 180, 90)
        watch = Watch("w", Instruction("segment the water"), everywhere, loaded, f"{url}/items.json", START)
        with engine.begin() as conn:
            watches.apply(conn, watch)
        report = discover_watch(engine, "w", model_version="m@1", now=END)
    with engine.connect() as conn:
        refused = set(conn.execute(text("SELECT item_id FROM segwatch.rejected_item")).scalars())
        kept = set(conn.execute(text("SELECT item_id FROM segwatch.scene_item")).scalars())
        reasons = conn.execute(text("SELECT count(*) FROM segwatch.rejected_item WHERE reason = ''")).scalar()
    assert reasons == 0
    assert report.rejected >= len(refused) > 0
    assert report.items >= len(kept)
    for document, usable in drawn:
        if isinstance(document.get("id"), str):
            name = shorten(to_storable(document["id"]), 255) or "?"
            assert name in (kept if usable else refused), (name, usable)
