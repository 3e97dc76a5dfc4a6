"""Places and identities of RSS and Atom entries, in every encoding that the README promises."""

from __future__ import annotations

import pytest
from shapely.geometry import LineString, MultiPoint, Point

from segwatch.geo.antimeridian import compute_bounds
from segwatch.geo.area import compute_area_m2
from segwatch.geo.events.document import read_events
from segwatch.geo.types.event import Event, RefusedEntry

SPACES = (
    "xmlns:georss='http://www.georss.org/georss' xmlns:gml='http://www.opengis.net/gml' "
    "xmlns:gml32='http://www.opengis.net/gml/3.2' xmlns:geo='http://www.w3.org/2003/01/geo/wgs84_pos#' "
    "xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:atom='http://www.w3.org/2005/Atom' "
    "xmlns:gdacs='http://www.gdacs.org'"
)
DATE = "<pubDate>Fri, 27 Nov 2026 10:00:00 GMT</pubDate>"


def item(place: str, *, name: str = "<guid>1</guid>", more: str = "") -> str:
    return f"<item>{name}<title>Flood</title>{DATE}{more}{place}</item>"


def rss(*items: str, link: str = "https://example.org/") -> list[Event | RefusedEntry]:
    document = f"<rss version='2.0' {SPACES}><channel><link>{link}</link>{''.join(items)}</channel></rss>"
    return [one for one in read_events(document.encode(), "f") if isinstance(one, Event | RefusedEntry)]


def only(place: str, **more: str) -> Event:
    (found,) = rss(item(place, **more))
    assert isinstance(found, Event), found
    return found


def reason(place: str, **more: str) -> str:
    (found,) = rss(item(place, **more))
    assert isinstance(found, RefusedEntry), found
    return found.reason


def where(gml: str, attributes: str = "") -> str:
    return f"<georss:where {attributes}>{gml}</georss:where>"


POINT = Point(150.2, -33.5)


@pytest.mark.parametrize(
    "place",
    [
        "<georss:point>-33.5 150.2</georss:point>",
        "<georss:point>-33.5,150.2</georss:point>",
        "<georss:point>\n -33.5\n  150.2 </georss:point>",
        "<geo:Point><geo:lat>-33.5</geo:lat><geo:long>150.2</geo:long></geo:Point>",
        "<geo:lat>-33.5</geo:lat><geo:long>150.2</geo:long>",
        "<geo:lat> -33.5 </geo:lat><geo:lon>150.2</geo:lon>",
        "<georss:point>-33.5 150.2</georss:point><geo:lat>-33.5001</geo:lat><geo:long>150.2001</geo:long>",
        where("<gml:Point><gml:pos>-33.5 150.2</gml:pos></gml:Point>"),
        where("<gml32:Point><gml32:pos>-33.5 150.2</gml32:pos></gml32:Point>"),
        where("<gml:Point srsName='urn:ogc:def:crs:EPSG::4326'><gml:pos>-33.5 150.2</gml:pos></gml:Point>"),
        where(
            "<gml:Point srsName='urn:ogc:def:crs:OGC:1.3:CRS84'><gml:pos>150.2 -33.5</gml:pos></gml:Point>"
        ),
        where(
            "<gml:Point srsName='http://www.opengis.net/def/crs/OGC/1.3/CRS84'><gml:pos>150.2 -33.5</gml:pos>"
            "</gml:Point>"
        ),
        where(
            "<gml:Point srsName='http://www.opengis.net/gml/srs/epsg.xml#4326'><gml:pos>150.2 -33.5</gml:pos>"
            "</gml:Point>"
        ),
        where("<gml:Point srsDimension='3'><gml:pos>-33.5 150.2 812</gml:pos></gml:Point>"),
        where("<gml:Point><gml:pos>-33.5 150.2 812</gml:pos></gml:Point>"),
        where("<gml:Point srsName='CRS84'><gml:coordinates>150.2,-33.5</gml:coordinates></gml:Point>"),
        "<georss:point elev='12' floor='1'>-33.5 150.2</georss:point><georss:elev>313</georss:elev>",
    ],
)
def test_a_point_in_every_encoding(place: str) -> None:
    assert only(place).geometry.equals(POINT)


RING = "-33.5 150.2 -33.5 150.4 -33.3 150.4 -33.3 150.2 -33.5 150.2"
SURFACE = f"<gml:exterior><gml:LinearRing><gml:posList>{RING}</gml:posList></gml:LinearRing></gml:exterior>"
POSITIONS = "".join(f"<gml:pos>{' '.join(RING.split()[i : i + 2])}</gml:pos>" for i in range(0, 10, 2))


@pytest.mark.parametrize(
    "place",
    [
        f"<georss:polygon>{RING}</georss:polygon>",
        f"<georss:polygon>{RING.replace(' ', ', ')}</georss:polygon>",
        "<georss:box>-33.5 150.2 -33.3 150.4</georss:box>",
        where(f"<gml:Polygon>{SURFACE}</gml:Polygon>"),
        where(
            f"<gml:Surface><gml:patches><gml:PolygonPatch>{SURFACE}</gml:PolygonPatch></gml:patches></gml:Surface>"
        ),
        where(
            f"<gml:MultiSurface><gml:name>x</gml:name><gml:surfaceMember><gml:Polygon>{SURFACE}</gml:Polygon>"
            "</gml:surfaceMember></gml:MultiSurface>"
        ),
        where(
            f"<gml:Polygon><gml:exterior><gml:LinearRing>{POSITIONS}</gml:LinearRing></gml:exterior></gml:Polygon>"
        ),
        where(
            "<gml:Envelope><gml:lowerCorner>-33.5 150.2</gml:lowerCorner>"
            "<gml:upperCorner>-33.3 150.4</gml:upperCorner></gml:Envelope>"
        ),
    ],
)
def test_an_area_in_every_encoding(place: str) -> None:
    assert (
        only(place).geometry.normalize()
        == only(f"<georss:polygon>{RING}</georss:polygon>").geometry.normalize()
    )


def test_holes_of_gml_are_holes() -> None:
    hole = "-33.45 150.25 -33.45 150.3 -33.4 150.3 -33.45 150.25"
    inner = f"<gml:interior><gml:LinearRing><gml:posList>{hole}</gml:posList></gml:LinearRing></gml:interior>"
    area = only(where(f"<gml:Polygon>{SURFACE}{inner}</gml:Polygon>")).geometry
    assert not area.intersects(Point(150.28, -33.44))
    assert area.intersects(Point(150.38, -33.44))


@pytest.mark.parametrize(
    "place",
    [
        "<georss:circle>-33.5 150.2 10000</georss:circle>",
        "<georss:circle>-33.5, 150.2,\n 10000</georss:circle>",
        "<georss:point radius='10000'>-33.5 150.2</georss:point>",
        "<georss:point>-33.5 150.2</georss:point><georss:radius>10000</georss:radius>",
        where("<gml:Point><gml:pos>-33.5 150.2</gml:pos></gml:Point>", "radius='10000'"),
        where(
            "<gml:CircleByCenterPoint><gml:pos>-33.5 150.2</gml:pos><gml:radius uom='km'>10</gml:radius>"
            "</gml:CircleByCenterPoint>"
        ),
    ],
)
def test_a_circle_in_every_encoding(place: str) -> None:
    disc = only(place).geometry
    assert compute_area_m2(disc) == pytest.approx(3.14e8, rel=0.01)
    assert disc.intersects(POINT)


def test_a_line_may_be_told_with_its_width() -> None:
    line = "<georss:line{}>-33.5 150.2 -33.4 150.3</georss:line>"
    assert only(line.format("")).geometry == LineString([(150.2, -33.5), (150.3, -33.4)])
    assert compute_area_m2(only(line.format(" radius='1000'")).geometry) > 2e7


def test_every_shape_of_an_entry_belongs_to_it() -> None:
    two = "<georss:polygon>0 10 0 11 1 11 0 10</georss:polygon><georss:polygon>0 20 0 21 1 21 0 20</georss:polygon>"
    assert compute_bounds(only(two).geometry) == (10, 0, 21, 1)
    points = (
        "<georss:point>1 2</georss:point><georss:point>3 4</georss:point><georss:point>1 2</georss:point>"
    )
    assert only(points).geometry == MultiPoint([(2, 1), (4, 3)])
    wheres = where("<gml:Point><gml:pos>1 2</gml:pos></gml:Point>") * 2
    assert only(wheres + where("<gml:Point><gml:pos>3 4</gml:pos></gml:Point>")).geometry == MultiPoint(
        [(2, 1), (4, 3)]
    )
    mixed = "<georss:point>5 5</georss:point><georss:line>1 2 3 4</georss:line>"
    assert only(mixed).geometry.geom_type == "GeometryCollection"


@pytest.mark.parametrize(
    "place",
    [
        "<georss:box>-17.2 179.8 -16.6 -179.7</georss:box>",
        "<georss:box>-17.2 179.8 -16.6 180.3</georss:box>",
        "<georss:polygon>-17.2 179.8 -17.2 -179.7 -16.6 -179.7 -16.6 179.8 -17.2 179.8</georss:polygon>",
        where(
            "<gml:Envelope><gml:lowerCorner>-17.2 179.8</gml:lowerCorner>"
            "<gml:upperCorner>-16.6 -179.7</gml:upperCorner></gml:Envelope>"
        ),
    ],
)
def test_areas_across_180_degrees(place: str) -> None:
    area = only(place).geometry
    assert compute_bounds(area) == pytest.approx((179.8, -17.2, -179.7, -16.6))
    assert not area.intersects(Point(0, -17))


def test_a_line_across_180_degrees_is_cut() -> None:
    line = only("<georss:line>-17 179.5 -16 -179.5</georss:line>").geometry
    assert line.geom_type == "MultiLineString"
    assert compute_bounds(line) == (179.5, -17, -179.5, -16)


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("", "no georss, no georss:where with gml, no geo:lat"),
        (where(""), "has no readable gml"),
        (where("<gml:Arc><gml:x/></gml:Arc>"), "Arc|has no readable gml"),
        (where("<gml:Solid/>"), "a Solid"),
        (where("<gml:Point srsName='EPSG:25833'><gml:pos>4e5 5e6</gml:pos></gml:Point>"), "EPSG:25833"),
        (
            where(
                "<gml:Point srsName='http://www.opengis.net/gml/srs/epsg.xml#4326'><gml:pos>10 20</gml:pos>"
                "</gml:Point>"
            ),
            "is ambiguous",
        ),
        (where("<gml:Point><gml:coordinates>10,20</gml:coordinates></gml:Point>"), "axis order is unknown"),
        (where("<gml:Point><gml:pos>10</gml:pos></gml:Point>"), "positions"),
        (where("<gml:Polygon/>"), "0 exteriors"),
        ("<geo:lat>1</geo:lat>", "1 geo:lat and 0 geo:long"),
        ("<georss:point>1 2 3</georss:point>", "pairs"),
        ("<georss:point>95 2</georss:point>", "degrees"),
        ("<georss:box>1 2 3</georss:box>", "pairs"),
        ("<georss:box>5 2 3 4</georss:box>", "south of"),
        ("<georss:circle>1 2</georss:circle>", "circle"),
        ("<georss:circle>1 2 -5</georss:circle>", "radius"),
        ("<georss:point radius='wide'>1 2</georss:point>", "radius"),
        (where("<gml:MultiPoint>" * 30 + "</gml:MultiPoint>" * 30), "nested"),
    ],
)
def test_what_is_no_place_says_what_is_wrong(place: str, word: str) -> None:
    said = reason(place)
    assert any(one in said for one in word.split("|")), said


POINTED = "<georss:point>1 2</georss:point>"


def test_an_entry_without_an_id_is_named_by_a_link_of_its_own_or_refused() -> None:
    one, other = (item(POINTED, name=f"<link>https://example.org/{name}</link>") for name in "ab")
    assert [event.external_id for event in rss(one, other) if isinstance(event, Event)] == [
        "https://example.org/a",
        "https://example.org/b",
    ]
    assert all(
        isinstance(found, RefusedEntry) and "is shared with others" in found.reason for found in rss(one, one)
    )
    home = item(POINTED, name="<link>https://example.org/</link>")
    (found,) = rss(home)
    assert isinstance(found, RefusedEntry)
    assert "is shared with others" in found.reason
    assert "no id, no guid" in reason(POINTED, name="")


def test_of_several_links_the_one_to_the_entry_is_taken() -> None:
    links = "".join(
        f"<link rel='{rel}' href='https://example.org/{rel}'/>"
        for rel in ("self", "enclosure", "alternate", "via")
    )
    entry = f"<entry><id>1</id><title>Flood</title><updated>2026-01-01T00:00:00Z</updated>{links}{POINTED}</entry>"
    feed = f"<feed xmlns='http://www.w3.org/2005/Atom' {SPACES}>{entry}</feed>"
    (event,) = read_events(feed.encode(), "f")
    assert isinstance(event, Event)
    assert event.link == "https://example.org/alternate"


def test_any_of_several_categories_may_name_the_kind() -> None:
    entry = (
        f"<item><guid>1</guid><title>Bulletin</title>{DATE}<category>news</category><category>Floods</category>"
        f"{POINTED}</item>"
    )
    (event,) = rss(entry)
    assert isinstance(event, Event)


def test_an_entry_without_a_date_is_refused() -> None:
    (found,) = rss(f"<item><guid>1</guid><title>Flood</title>{POINTED}</item>")
    assert isinstance(found, RefusedEntry)
    assert found.reason == "it has no date"


def test_a_gdacs_entry_without_its_number_is_refused() -> None:
    (found,) = rss(f"<item>{DATE}<gdacs:eventtype>EQ</gdacs:eventtype>{POINTED}</item>")
    assert isinstance(found, RefusedEntry)
    assert found.reason == "it has no eventid"
