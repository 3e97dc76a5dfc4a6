"""Contours of shaking become ground. Whatever else comes is refused with a reason.

No contour file was at hand to be recorded: these are made in the structure that USGS publishes for ShakeMap's
``cont_mmi.json``, one MultiLineString an intensity.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import MultiLineString, Point
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import iterate_parts, split_at_antimeridian
from segwatch.geo.area import compute_area_m2
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.document import read_events
from segwatch.geo.events.shaking import compute_shaken_area, find_contours_link, find_link_in
from segwatch.geo.types.event import Event, EventKind
from tests.support.paths import DATA

DETAIL = DATA / "feeds" / "usgs_event_detail_us6000pi9w.json"
PLACE = (87.36, 28.64)
Line = list[list[float]]


def quake(place: tuple[float, float] = PLACE) -> Event:
    return Event("usgs", "x", EventKind.EARTHQUAKE, "M 7.1", datetime(2025, 1, 7, tzinfo=UTC), Point(place))


def ring(km: float, place: tuple[float, float] = PLACE) -> Line:
    """A circle, closed; longitudes go on past 180 as those of the published grids do."""
    count = 181
    bearings = [2.0 * step for step in range(count)]
    lons, lats, _ = Geod(ellps="WGS84").fwd(
        [place[0]] * count, [place[1]] * count, bearings, [km * 1000] * count
    )
    return [[place[0] + (lon - place[0] + 180) % 360 - 180, lat] for lon, lat in zip(lons, lats, strict=True)]


def contours(lines: dict[float, list[Line]]) -> bytes:
    features = [
        {
            "type": "Feature",
            "properties": {"value": value, "units": "mmi", "color": "#ffff00", "weight": 2},
            "geometry": {"type": "MultiLineString", "coordinates": parts},
        }
        for value, parts in lines.items()
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


RINGS = contours({5.5: [ring(60)], 6.0: [ring(40)], 6.5: [ring(20)], 7.0: [ring(10)]})


def km2(ground: BaseGeometry) -> float:
    return compute_area_m2(ground) / 1e6


@pytest.mark.parametrize(
    ("least", "largest_km2", "intensity", "radius_km"),
    [
        (6, 10_000, 6.0, 40),
        (6.2, 10_000, 6.0, 40),
        (3, 20_000, 5.5, 60),
        (5.5, 10_000, 6.0, 40),
        (6, 1_000, 7.0, 10),
    ],
)
def test_ground_of_at_least_an_intensity(
    least: float, largest_km2: float, intensity: float, radius_km: float
) -> None:
    found, ground = compute_shaken_area(RINGS, quake(), least=least, largest_km2=largest_km2)
    assert found == intensity
    assert km2(ground) == pytest.approx(math.pi * radius_km**2, rel=0.005)
    assert ground.is_valid
    assert ground.contains(Point(PLACE))


def test_a_basin_that_shook_less_is_left_out() -> None:
    _, ground = compute_shaken_area(contours({6.0: [ring(40), ring(10)]}), quake(), least=6, largest_km2=1e5)
    assert km2(ground) == pytest.approx(math.pi * (40**2 - 10**2), rel=0.005)


def test_a_line_that_comes_in_pieces_is_one_and_one_that_leaves_the_map_is_closed() -> None:
    whole = ring(40)
    _, ground = compute_shaken_area(
        contours({6.0: [whole[:70], whole[69:]]}), quake(), least=6, largest_km2=1e5
    )
    assert km2(ground) == pytest.approx(math.pi * 40**2, rel=0.005)
    _, half = compute_shaken_area(contours({6.0: [whole[:91]]}), quake(), least=6, largest_km2=1e5)
    assert km2(half) == pytest.approx(math.pi * 40**2 / 2, rel=0.01)


@pytest.mark.parametrize("place", [(179.9, 52.0), (-179.95, -17.0), (0.0, 0.0), (30.0, 84.0)])
def test_ground_anywhere_on_earth(place: tuple[float, float]) -> None:
    _, ground = compute_shaken_area(
        contours({6.0: [ring(40, place)]}), quake(place), least=6, largest_km2=1e5
    )
    assert km2(ground) == pytest.approx(math.pi * 40**2, rel=0.01)
    west, _, east, _ = ground.bounds
    assert -180 <= west < east <= 180


def test_contours_that_are_cut_at_180_degrees_are_closed_across_it() -> None:
    place = (179.9, 52.0)
    whole = MultiLineString([ring(40, place), ring(10, place)])
    cut = [[list(point) for point in part.coords] for part in iterate_parts(split_at_antimeridian(whole))]
    jumping = [[[(lon + 180) % 360 - 180, lat] for lon, lat in ring(40, place)], ring(10, place)]
    for lines in (cut, jumping):
        _, ground = compute_shaken_area(contours({6.0: lines}), quake(place), least=6, largest_km2=1e5)
        # what lies within both rings shook less
        assert km2(ground) == pytest.approx(math.pi * (40**2 - 10**2), rel=0.01)


def feature(**more: Any) -> bytes:
    one = {"properties": {"value": 6}, "geometry": {"type": "LineString", "coordinates": ring(5)}, **more}
    return json.dumps({"features": [one]}).encode()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "no contours"),
        (b'{"features": 3}', "no contours"),
        (b'{"features": [3]}', "not an object"),
        (feature(properties=None), "not an object"),
        (feature(properties={"value": "much"}), "a line with a value"),
        (feature(properties={"value": float("nan")}), "a line with a value"),
        (feature(geometry={"type": "Point", "coordinates": [1, 2]}), "a line with a value"),
        (feature(geometry={"type": "LineString", "coordinates": [[1, "x"]]}), "cannot be read"),
        (
            feature(geometry={"type": "LineString", "coordinates": [[1, 2], [float("nan"), 3], [4, 5]]}),
            "invalid coordinate",
        ),
        (
            feature(geometry={"type": "LineString", "coordinates": [[1, 2], [2, 999], [4, 5]]}),
            "invalid coordinate",
        ),
        (feature(geometry={"type": "LineString", "coordinates": [PLACE, PLACE]}), "enclose no area"),
        (feature(geometry={"type": "LineString", "coordinates": [[1, 2]] * 200_001}), "vertices"),
        (contours({6.0: [ring(40, (120.0, -30.0))]}), "far from"),
        (contours({5.0: [ring(40)]}), "end at an intensity of 5"),
        (contours({6.0: [ring(400)]}), "more than 10000 km2"),
    ],
)
def test_what_is_no_contours_of_the_event_is_refused(document: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason):
        compute_shaken_area(document, quake(), least=6, largest_km2=10_000)


@given(
    st.lists(
        st.lists(
            st.tuples(st.floats(-400, 400), st.floats(-100, 100)) | st.tuples(st.floats(), st.floats()),
            max_size=12,
        ),
        max_size=4,
    )
)
def test_any_lines_are_ground_or_refused(lines: list[Any]) -> None:
    document = json.dumps(
        {
            "features": [
                {"properties": {"value": 6}, "geometry": {"type": "MultiLineString", "coordinates": lines}}
            ]
        }
    ).encode()
    try:
        _, ground = compute_shaken_area(document, quake(), least=6, largest_km2=1e9)
    except InvalidEvent:
        return
    assert ground.is_valid
    assert ground.geom_type in {"Polygon", "MultiPolygon"}


def test_where_the_contours_are() -> None:
    (event,) = read_events(DETAIL.read_bytes(), "feed")
    assert isinstance(event, Event)
    assert event.shaking.startswith("https://earthquake.usgs.gov/")
    assert event.shaking.endswith("/download/cont_mmi.json")
    assert find_link_in(DETAIL.read_bytes()) == event.shaking
    assert find_contours_link({"detail": "https://x.example/d"}) == "https://x.example/d"
    older = {"shakemap": [{"contents": {"download/cont_mi.json": {"url": "https://x.example/c"}}}]}
    assert find_contours_link({"products": older}) == "https://x.example/c"
    odd: dict[str, Any]
    for odd in ({"products": {}}, {"products": {"shakemap": [3, {"contents": 4}]}}, {}):
        assert (
            find_contours_link({**odd, "detail": "https://x.example/d"} if "products" in odd else odd) == ""
        )
    assert find_link_in(RINGS) == ""
