"""Documents that tell one event in several pieces, under several names, or in another character set."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest
from shapely.geometry import Point

from segwatch.geo.antimeridian import compute_bounds
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.document import decode_text, read_events
from segwatch.geo.types.event import Event, EventName, RefusedEntry, Withdrawal


def square(west: float, south: float, side: float = 1.0) -> dict[str, Any]:
    east, north = west + side, south + side
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def gdacs(shape: dict[str, Any] | None, kind: str, **more: Any) -> dict[str, Any]:
    properties = {
        "eventtype": "TC", "eventid": 1001, "episodeid": 1, "Class": kind, "name": "Cyclone", "alertlevel": "Green",
        "fromdate": "2026-01-28T06:00:00", "datemodified": "2026-01-29T06:00:00",
    }  # fmt: skip
    return {"type": "Feature", "geometry": shape, "properties": properties | more}


def found(*features: dict[str, Any]) -> list[Event | Withdrawal | RefusedEntry]:
    document = {"type": "FeatureCollection", "features": list(features)}
    return list(read_events(json.dumps(document).encode(), "f"))


POINT = {"type": "Point", "coordinates": [171.9, -26.9]}


def test_features_of_a_gdacs_event_are_one_event_over_all_of_its_areas() -> None:
    cone = gdacs(square(0, 0, 40), "Poly_Cones")
    (event,) = found(
        gdacs(POINT, "Point_Centroid"),
        gdacs(square(172, -18), "Poly_Green"),
        gdacs(square(174, -18), "Poly_Orange"),
        cone,
    )
    assert isinstance(event, Event)
    assert (event.external_id, compute_bounds(event.geometry)) == ("TC1001", (172, -18, 175, -17))
    (forecast,) = found(gdacs(POINT, "Point_Centroid"), cone)
    assert isinstance(forecast, Event)
    assert compute_bounds(forecast.geometry) == (0, 0, 40, 40), "better than nothing"


def test_the_newest_episode_decides() -> None:
    (event,) = found(
        gdacs(square(174, -18), "Poly_Green", episodeid=2, alertlevel="Red"),
        gdacs(square(172, -18), "Poly_Green", episodeid=1),
    )
    assert isinstance(event, Event)
    assert (event.level, compute_bounds(event.geometry)) == ("red", (174, -18, 175, -17))


def test_numbers_of_gdacs_are_those_of_a_type() -> None:
    events = found(
        gdacs(POINT, "Point_Centroid"),
        gdacs({"type": "Point", "coordinates": [1, 2]}, "Point_Centroid", eventtype="FL"),
    )
    assert [one.external_id for one in events if isinstance(one, Event)] == ["TC1001", "FL1001"]


@pytest.mark.parametrize("number", [None, "", {}, True])
def test_a_gdacs_event_without_its_number_is_refused(number: object) -> None:
    (one,) = found(gdacs(POINT, "Point_Centroid", eventid=number))
    assert isinstance(one, RefusedEntry)
    assert one.reason == "it has no eventid"


def test_a_shape_that_cannot_be_read_hides_no_other() -> None:
    event, refused = sorted(
        found(gdacs(square(172, -18), "Poly_Green"), gdacs({"type": "Polygon"}, "Poly_Red")),
        key=lambda one: isinstance(one, RefusedEntry),
    )
    assert isinstance(event, Event)
    assert isinstance(refused, RefusedEntry)


def usgs(**more: Any) -> dict[str, Any]:
    properties = {
        "mag": 6.8,
        "type": "earthquake",
        "time": 1795773600000,
        "updated": 1795773700000,
        "title": "M 6.8",
    }
    feature = {"type": "Feature", "id": "nc2", "geometry": {"type": "Point", "coordinates": [10, 45, 7]}}
    return feature | {"properties": properties | more}


def test_every_id_of_an_earthquake_is_a_name() -> None:
    (event,) = found(usgs(ids=",us1,nc2,"))
    assert isinstance(event, Event)
    assert event.names == (EventName("usgs", "nc2"), EventName("usgs", "us1"))


def test_an_earthquake_that_is_deleted_without_a_place_is_withdrawn() -> None:
    (one,) = found(usgs(status="deleted", ids=",us1,nc2,") | {"geometry": None})
    assert isinstance(one, Withdrawal)
    assert {name.external_id for name in one.names} == {"us1", "nc2"}


def own(**more: Any) -> dict[str, Any]:
    times = {"occurred_at": "2026-05-25T00:00:00Z", "updated_at": "2026-05-25T00:00:00Z"}
    return {"type": "Feature", "id": 0, "geometry": POINT, "properties": {"kind": "flood", **times, **more}}


def test_zero_is_an_id() -> None:
    (event,) = found(own())
    assert isinstance(event, Event)
    assert event.external_id == "0"


def test_an_own_event_is_taken_back_without_its_place() -> None:
    (one,) = found(own(cancelled=True) | {"geometry": None})
    assert isinstance(one, Withdrawal)


@pytest.mark.parametrize("name", ["magnitude", "population"])
def test_a_number_that_is_none_is_refused(name: str) -> None:
    (one,) = found(own(**{name: "many"}))
    assert isinstance(one, RefusedEntry)
    assert name in one.reason


@pytest.mark.parametrize(
    "shape",
    [
        {"type": "GeometryCollection", "geometries": [square(179.5, -17), square(-179.9, -17, 0.1)]},
        {
            "type": "Polygon",
            "coordinates": [[[179.5, -17], [-179.5, -17], [-179.5, -16], [179.5, -16], [179.5, -17]]],
        },
        {
            "type": "Polygon",
            "coordinates": [[[179.5, -17], [180.5, -17], [180.5, -16], [179.5, -16], [179.5, -17]]],
        },
        {"type": "MultiPoint", "coordinates": [[179.5, -17], [180.5, -16]]},
        {"type": "LineString", "coordinates": [[179.5, -17], [-179.5, -16]]},
    ],
    ids=lambda one: one["type"],
)
def test_geojson_across_180_degrees(shape: dict[str, Any]) -> None:
    (event,) = found(own() | {"geometry": shape})
    assert isinstance(event, Event)
    west, _, east, _ = compute_bounds(event.geometry)
    assert west == 179.5
    assert east == pytest.approx(-179.5)
    assert not event.geometry.intersects(Point(0, -16.5))


def test_geojson_across_180_degrees_keeps_a_parts_own_side() -> None:
    (event,) = found(own() | {"geometry": {"type": "Point", "coordinates": [190, 5]}})
    assert isinstance(event, Event)
    assert event.geometry == Point(-170, 5)


RSS = (
    "<rss xmlns:g='http://www.georss.org/georss'><channel><item><guid>1</guid><title>Hochwasser (flood) an der Plöne"
    "</title><pubDate>Fri, 27 Nov 2026 10:00:00 GMT</pubDate><g:point>1 2</g:point></item></channel></rss>"
)


@pytest.mark.parametrize(
    ("document", "charset"),
    [
        (RSS.encode(), ""),
        (RSS.encode(), "iso-8859-1"),  # what servers say by default
        (codecs.BOM_UTF8 + RSS.encode(), ""),
        (RSS.encode("utf-16"), ""),
        (RSS.encode("utf-16-le"), ""),
        (RSS.encode("utf-32"), ""),
        (RSS.encode("iso-8859-1"), "ISO-8859-1"),
        (RSS.encode("cp1252"), "'windows-1252'"),
        (b"<?xml version='1.0' encoding='iso-8859-15'?>" + RSS.encode("iso-8859-15"), ""),
        (b"\r\n <?xml version='1.0' encoding=\"utf-8\"?>" + RSS.encode(), ""),
    ],
)
def test_a_document_in_any_character_set(document: bytes, charset: str) -> None:
    (event,) = read_events(document, "f", charset)
    assert isinstance(event, Event)
    assert event.title.endswith("Plöne")


def test_json_in_any_character_set() -> None:
    document = json.dumps(own(title="Plöne"), ensure_ascii=False)
    for content in (
        codecs.BOM_UTF8 + document.encode(),
        document.encode("utf-16"),
        document.encode("utf-16-be"),
    ):
        (event,) = read_events(content, "f")
        assert isinstance(event, Event)
        assert event.title == "Plöne"


@pytest.mark.parametrize("charset", ["", "idna", "rot13", "unicode_escape", "zlib", "none at all"])
def test_a_character_set_that_is_none_is_refused(charset: str) -> None:
    with pytest.raises(InvalidEvent, match=r"the document (is|has the unsupported encoding)"):
        decode_text(b"<rss>\xff\xfe</rss>", charset)
