"""Ten thousand malformed items: each is used or refused with a reason, and none ends a run."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from segwatch.geo.errors import BadItem, UnsafeHref
from segwatch.geo.scenes import group, parse_item
from segwatch.geo.sources import hrefs, profiles
from segwatch.geo.types import Item, Profile

DATA = Path(__file__).parents[2] / "data" / "stac"
CASES = 5200

numbers = st.integers(-(10**12), 10**12) | st.floats(allow_nan=True, allow_infinity=True)
texts = st.text(max_size=30) | st.sampled_from(
    [
        "",
        "2024-05-01T10:00:00Z",
        "2024-13-45T99:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "file:///etc/passwd",
        "/vsicurl/http://169.254.169.254/",
        "http://user:secret@data.example.org/a.tif",
        "https://data.example.org/a.tif",
        "//data.example.org/a.tif",
        "../../a.tif",
        "http://[::1",
        "\x00",
        "<script>",
        "Polygon",
        "GeometryCollection",
    ]
)
leaves = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
positions = st.lists(numbers, min_size=0, max_size=4)
geometries = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["Polygon", "MultiPolygon", "Point", "LineString", "GeometryCollection", "Circle"]
        ),
        "coordinates": st.lists(st.lists(positions, max_size=6), max_size=3) | values,
    },
    optional={"geometries": values},
)


def _real() -> list[tuple[dict[str, Any], Profile]]:
    found = []
    for name, profile in (
        ("pc_s2_antimeridian.json", "sentinel2-l2a-planetary"),
        ("pc_naip_page1.json", "naip-planetary"),
    ):
        document = json.loads((DATA / name).read_text(encoding="utf-8"))
        features = document.get("response", document)["features"]
        found.append((features[0], profiles.load(profile)))
    return found


REAL = _real()


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, one in inner for place in _places(one, (*at, key)))][:400]


def _judged(document: Any, profile: Profile) -> None:
    """What discovery does with an item."""
    try:
        item = parse_item(document, profile, base="https://stac.example.org/collections/c/items/x")
    except BadItem as error:
        said = error.item_id, error.reason
    else:
        _used(item, profile)
        return
    assert all(said)


def _used(item: Item, profile: Profile) -> None:
    assert item.footprint.is_valid
    assert item.footprint.area > 0
    west, _, east, _ = item.footprint.bounds
    assert -180 <= west <= east <= 180
    assert item.acquired_at.tzinfo is not None
    assert set(item.assets) == set(profile.assets())
    (scene,) = group([item, item])
    assert scene.items == (item,)
    json.dumps(dict(item.properties), default=str)
    for href in item.assets.values():
        with suppress(UnsafeHref):
            hrefs.check(href, ["data.example.org"])
            assert href.startswith(("http://data.example.org", "https://data.example.org"))


@given(st.data())
@settings(
    max_examples=CASES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_real_items_with_one_part_replaced(data: st.DataObject) -> None:
    original, profile = data.draw(st.sampled_from(REAL))
    document = deepcopy(original)
    for place in data.draw(st.lists(st.sampled_from(_places(original)), min_size=1, max_size=3)):
        part = data.draw(geometries if place == ("geometry",) else values)
        target = document
        # an earlier replacement may have taken this place away
        with suppress(KeyError, IndexError, TypeError):
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = part
    _judged(document, profile)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": texts | values,
            "type": st.just("Feature"),
            "collection": st.just("visual") | values,
            "geometry": geometries | values,
            "properties": st.dictionaries(
                st.sampled_from(
                    [
                        "datetime",
                        "start_datetime",
                        "end_datetime",
                        "updated",
                        "platform",
                        "eo:cloud_cover",
                        "grid:code",
                    ]
                ),
                texts | leaves,
                max_size=5,
            )
            | values,
            "links": st.lists(
                st.fixed_dictionaries({"rel": st.just("self"), "href": texts | values}), max_size=2
            )
            | values,
            "assets": st.fixed_dictionaries(
                {
                    "visual": st.fixed_dictionaries({"href": texts | values}, optional={"alternate": values})
                    | values
                }
            )
            | values,
        },
    )
)
@settings(
    max_examples=CASES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_made_up_items(document: dict[str, Any]) -> None:
    _judged(document, profiles.load("rgb-cog"))
