"""CAP messages: every info block, area, shape and reference of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import shapely
from shapely.geometry import Point

from segwatch.geo.antimeridian import compute_bounds
from segwatch.geo.area import compute_area_m2
from segwatch.geo.events.document import read_events
from segwatch.geo.types.event import Event, EventKind, EventLevel, EventName, RefusedEntry, Withdrawal


def ring(west: float, east: float, south: float = 50.0, north: float = 50.2) -> str:
    corners = [(south, west), (south, east), (north, east), (north, west), (south, west)]
    return f"<polygon>{' '.join(f'{lat},{lon}' for lat, lon in corners)}</polygon>"


def area(*shapes: str) -> str:
    return f"<area><areaDesc>somewhere</areaDesc>{''.join(shapes)}</area>"


def info(
    *areas: str, event: str = "Flood", severity: str = "Severe", language: str = "en-US", times: str = ""
) -> str:
    return (
        f"<info><language>{language}</language><category>Met</category><category>Env</category>"
        f"<event>{event}</event><urgency>Immediate</urgency><severity>{severity}</severity>"
        f"<certainty>Likely</certainty>{times}{''.join(areas)}</info>"
    )


def message(
    *infos: str, told: str = "Alert", references: str = "", sender: str = "met@example.org", sent: str = ""
) -> bytes:
    named = f"<references>{references}</references>" if references else ""
    when = sent or "2026-05-02T10:00:00+02:00"
    return (
        '<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>M1</identifier>'
        f"<sender>{sender}</sender><sent>{when}</sent><status>Actual</status><msgType>{told}</msgType>"
        f"<scope>Public</scope>{named}{''.join(infos)}</alert>"
    ).encode()


def every(document: bytes) -> Sequence[Event | Withdrawal | RefusedEntry]:
    return list(read_events(document, "f"))


def only(document: bytes) -> Event:
    (found,) = every(document)
    assert isinstance(found, Event), found
    return found


def reason(document: bytes) -> str:
    (found,) = every(document)
    assert isinstance(found, RefusedEntry), found
    return found.reason


def test_several_infos_are_one_event_over_all_areas_at_the_highest_level() -> None:
    upper = info(area(ring(20.0, 20.2)), severity="Moderate", times="<expires>2026-05-03T00:00:00Z</expires>")
    lower = info(area(ring(20.5, 20.7)), severity="Extreme", times="<expires>2026-05-05T00:00:00Z</expires>")
    for order in ((upper, lower), (lower, upper)):
        event = only(message(*order))
        assert event.level is EventLevel.RED
        assert compute_bounds(event.geometry) == (20.0, 50.0, 20.7, 50.2)
        assert not event.geometry.intersects(Point(20.35, 50.1))
        assert event.ended_at == datetime(2026, 5, 5, tzinfo=UTC)


def test_an_end_that_one_of_them_leaves_out_is_not_that_of_the_other() -> None:
    ends = info(area(ring(20.0, 20.2)), times="<expires>2026-05-03T00:00:00Z</expires>")
    assert only(message(ends, info(area(ring(20.5, 20.7))))).ended_at is None


def test_the_earliest_beginning_counts() -> None:
    late, early = (f"<onset>2026-05-0{day}T00:00:00Z</onset>" for day in (4, 3))
    blocks = (info(area(ring(20, 20.2)), times=late), info(area(ring(20.5, 20.7)), times=early))
    assert only(message(*blocks)).occurred_at == datetime(2026, 5, 3, tzinfo=UTC)


def test_the_same_in_two_languages_is_one_area() -> None:
    french = info(area(ring(20.0, 20.2)), event="Inondation", language="fr-CA")
    english = info(area(ring(20.0, 20.2)), language="en-CA")
    for blocks in ((french, english), (english, french)):
        event = only(message(*blocks))
        assert (event.kind, event.title) == (EventKind.FLOOD, "Flood")
        assert event.geometry.geom_type == "Polygon"


def test_an_info_about_another_thing_is_told_and_not_taken() -> None:
    flood = info(area(ring(20.0, 20.2)), severity="Severe")
    fire = info(area(ring(21.0, 21.2)), event="Wildfire", severity="Minor")
    wind = info(area(ring(22.0, 22.2)), event="Wind")
    event, *others = every(message(fire, flood, wind))
    assert isinstance(event, Event)
    assert (event.kind, compute_bounds(event.geometry)) == (EventKind.FLOOD, (20.0, 50.0, 20.2, 50.2))
    assert [one.entry for one in others if isinstance(one, RefusedEntry)] == ["M1: Wildfire", "M1: Wind"]


def test_several_areas_and_shapes_are_all_covered() -> None:
    circle = "<circle>50.1,23.1 5</circle>"
    shapes = (area(ring(20.0, 20.2), ring(21.0, 21.2)), area(ring(22.0, 22.2), circle))
    event = only(message(info(*shapes)))
    for lon in (20.1, 21.1, 22.1, 23.1):
        assert event.geometry.intersects(Point(lon, 50.1))


def test_codes_of_areas_are_named_as_what_is_missing() -> None:
    codes = "<geocode><valueName>UGC</valueName><value>X1</value></geocode>"
    assert "area codes (UGC)" in reason(message(info(area(codes))))


@pytest.mark.parametrize(
    "circle", ["46.0,15.0 10", "46.0, 15.0 10", "46.0,15.0\n10", " 46.0 , 15.0 ,10 ", "46.0 15.0 10"]
)
def test_a_circle_in_any_spacing(circle: str) -> None:
    disc = only(message(info(area(f"<circle>{circle}</circle>")))).geometry
    assert compute_area_m2(disc) == pytest.approx(3.14e8, rel=0.01)
    assert disc.intersects(Point(15, 46))


@pytest.mark.parametrize(
    ("circle", "word"),
    [
        ("46.0,15.0", "its circle '46.0,15.0' is not latitude, longitude and radius"),
        ("46,15,1,2", "the centre '46,15,1' of its circle"),
        ("46,15 -1", "radius of -1 km"),
        ("46,15 far", "'46,15 far' are not"),
    ],
)
def test_a_circle_that_is_none_says_what_is_wrong(circle: str, word: str) -> None:
    assert word in reason(message(info(area(f"<circle>{circle}</circle>"))))


@pytest.mark.parametrize(
    "shape",
    [
        "<circle>-16.8,179.98 20</circle>",
        "<polygon>-17,179.8 -17,-179.8 -16.6,-179.8 -16.6,179.8 -17,179.8</polygon>",
        "<polygon>-17,179.8 -17,180.2 -16.6,180.2 -16.6,179.8 -17,179.8</polygon>",
    ],
)
def test_places_across_180_degrees(shape: str) -> None:
    place = only(message(info(area(shape)))).geometry
    assert place.intersects(Point(179.95, -16.8))
    assert place.intersects(Point(-179.99, -16.8))
    assert not place.intersects(Point(0, -16.8))
    west, _, east, _ = compute_bounds(place)
    assert 179.7 < west < 180
    assert -180 < east < -179.7


def test_a_circle_round_a_pole_is_a_cap() -> None:
    cap = only(message(info(area("<circle>89.5,0 200</circle>")))).geometry
    assert cap.is_valid
    assert cap.intersects(Point(170, 89.6))
    assert compute_area_m2(cap) == pytest.approx(3.14159 * 200e3**2, rel=0.02)


def names(document: bytes) -> list[tuple[str, str]]:
    found = every(document)[0]
    assert not isinstance(found, RefusedEntry), found
    return [(one.source, one.external_id) for one in found.names]


OWN = ("cap:met@example.org", "M1")


@pytest.mark.parametrize(
    ("references", "before"),
    [
        ("a@b,C1,2026-05-01T10:00:00+00:00", [("cap:a@b", "C1")]),
        (
            "a@b,C1,2026-05-01T10:00:00+00:00\n a@b,C2,2026-05-01T11:00:00-00:00",
            [("cap:a@b", "C1"), ("cap:a@b", "C2")],
        ),
        ('"warn, met@met.example",C1,2026-05-01T10:00:00Z', [("cap:warn, met@met.example", "C1")]),
        ("Met Office,C1,2026-05-01T10:00:00Z", [("cap:Met Office", "C1")]),
        ("a@b, C1, 2026-05-01T10:00:00Z", [("cap:a@b", "C1")]),
        ("a@b,C1,2026-05-01T10:00:00", [("cap:a@b", "C1")]),
    ],
)
def test_references_in_every_form(references: str, before: list[tuple[str, str]]) -> None:
    document = message(info(area(ring(20, 20.2))), told="Update", references=references)
    assert names(document) == [*before, OWN]


def test_a_quoted_sender_is_the_same_sender_as_its_own_messages_say() -> None:
    event = only(message(info(area(ring(20, 20.2))), sender="warn, met@met.example"))
    assert event.names == (EventName("cap:warn, met@met.example", "M1", datetime(2026, 5, 2, 8, tzinfo=UTC)),)


def test_what_began_it_gives_the_time_where_nothing_else_does() -> None:
    references = "a@b,C2,2026-05-01T12:00:00Z a@b,C1,2026-05-01T10:00:00Z"
    event = only(message(info(area(ring(20, 20.2))), told="Update", references=references))
    assert (event.external_id, event.occurred_at) == ("C1", datetime(2026, 5, 1, 10, tzinfo=UTC))


@pytest.mark.parametrize("infos", [(), (info(),), (info(area(ring(20, 20.2)), event="All clear"),)])
def test_a_cancel_need_not_say_again_what_and_where(infos: tuple[str, ...]) -> None:
    (found,) = every(message(*infos, told="Cancel", references="a@b,C1,2026-05-01T10:00:00Z"))
    assert isinstance(found, Withdrawal)
    assert [one.external_id for one in found.names] == ["C1", "M1"]
    assert found.withdrawn_at == datetime(2026, 5, 2, 8, tzinfo=UTC)


def test_a_cancel_of_nothing_that_can_be_read_says_so() -> None:
    assert "messages that it cancels cannot be read" in reason(message(told="Cancel", references="C1"))


@pytest.mark.parametrize(
    ("sent", "word"),
    [("2026-05-02T10:00:00", "has no time zone"), ("soon", "is not a time"), (" ", "when it was sent")],
)
def test_times_of_cap_have_a_zone(sent: str, word: str) -> None:
    assert word in reason(message(info(area(ring(20, 20.2))), sent=sent))


def test_long_references_cost_time_in_proportion() -> None:
    document = message(info(area(ring(20, 20.2))), references="x," * 500_000)
    event = only(document)
    assert event.external_id == "M1"
    assert shapely.is_valid(event.geometry)
