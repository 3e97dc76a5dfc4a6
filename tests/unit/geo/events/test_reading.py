"""What feeds publish becomes events; what is none is refused with a reason."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwatch.geo.area import compute_area_m2
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.document import read_events
from segwatch.geo.events.record import read_each
from segwatch.geo.types.event import Event, EventKind, EventLevel, RefusedEntry
from tests.support.paths import DATA

FEEDS = DATA / "feeds"


def every(document: bytes | dict[str, Any]) -> tuple[list[Event], list[RefusedEntry]]:
    data = json.dumps(document).encode() if isinstance(document, dict) else document
    found = list(read_events(data, "example.org/feed"))
    return [e for e in found if isinstance(e, Event)], [e for e in found if isinstance(e, RefusedEntry)]


def recorded(name: str) -> tuple[list[Event], list[RefusedEntry]]:
    return every((FEEDS / name).read_bytes())


def only(document: bytes | dict[str, Any]) -> Event:
    (event,), refused = every(document)
    assert not refused
    return event


def reason(document: bytes | dict[str, Any]) -> str:
    events, (refused,) = every(document)
    assert not events
    return refused.reason


def test_gdacs_rss() -> None:
    events, refused = recorded("gdacs-rss.xml")
    assert not refused
    assert Counter(e.kind for e in events) == {
        EventKind.EARTHQUAKE: 2,
        EventKind.CYCLONE: 3,
        EventKind.DROUGHT: 11,
    }
    (calvinia,) = (e for e in events if e.external_id == "TC1000643")
    assert calvinia.geometry.wkt == "POINT (59.8 -19.4)"
    assert calvinia.occurred_at == datetime(2019, 12, 29, 12, tzinfo=UTC)
    assert (calvinia.level, calvinia.magnitude, calvinia.magnitude_unit) == (EventLevel.GREEN, 92.592, "km/h")
    assert calvinia.population == 0
    assert len({e.external_id for e in events}) == len(events)


def test_gdacs_api() -> None:
    (first,), _ = recorded("fl-1102983-ep1-event.json")
    (second,), _ = recorded("fl-1102983-ep2-event.json")
    assert first.external_id == second.external_id == "FL1102983"
    assert (first.kind, first.level, first.title) == (EventKind.FLOOD, EventLevel.ORANGE, "Flood in Spain")
    assert first.magnitude is None
    assert first.occurred_at == datetime(2024, 10, 27, 15, tzinfo=UTC)
    (fire,), _ = recorded("wf-1028649-event.json")
    assert (fire.kind, fire.magnitude, fire.magnitude_unit) == (EventKind.WILDFIRE, 6638, "ha")


def test_usgs() -> None:
    (tibet,), _ = recorded("usgs_event_detail_us6000pi9w.json")
    assert (tibet.source, tibet.external_id, tibet.level) == ("usgs", "us6000pi9w", EventLevel.RED)
    assert (tibet.magnitude, tibet.magnitude_unit) == (7.1, "mww")
    assert tibet.occurred_at.replace(microsecond=0) == datetime(2025, 1, 7, 1, 5, 16, tzinfo=UTC)
    assert not tibet.geometry.has_z


def test_an_eonet_track_is_one_event() -> None:
    events, refused = recorded("eonet_v3_events_20201130.geojson")
    assert len(events) + len(refused) == 20
    (gati,) = (e for e in events if e.external_id == "EONET_5165")
    assert gati.kind is EventKind.CYCLONE
    assert gati.geometry.geom_type == "MultiPoint"
    assert gati.occurred_at == datetime(2020, 11, 21, 18, tzinfo=UTC)
    assert gati.updated_at is not None
    assert gati.updated_at > gati.occurred_at
    assert gati.ended_at == datetime(2020, 11, 28, tzinfo=UTC)
    assert all("categories" in one.reason for one in refused)


CAP = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>{id}</identifier><sender>met@example.org</sender>
<sent>2024-05-02T10:00:00+02:00</sent><status>{status}</status><msgType>{told}</msgType><scope>Public</scope>
{references}<info><category>Met</category><event>Flash Flood Warning</event><urgency>Immediate</urgency>
<severity>Severe</severity><certainty>Observed</certainty><expires>2024-05-03T00:00:00Z</expires>
<headline>Flooding along the river</headline><area><areaDesc>valley</areaDesc>{area}</area></info></alert>"""
RING = "<polygon>46,15 46,15.1 46.1,15.1 46.1,15 46,15</polygon>"


def cap(**more: str) -> bytes:
    said = {"id": "A1", "status": "Actual", "told": "Alert", "references": "", "area": RING} | more
    return CAP.format(**said).encode()


def test_cap() -> None:
    event = only(cap())
    assert (event.source, event.external_id, event.kind) == ("cap:met@example.org", "A1", EventKind.FLOOD)
    assert event.level is EventLevel.ORANGE
    assert event.occurred_at == datetime(2024, 5, 2, 8, tzinfo=UTC)
    assert event.geometry.bounds == (15, 46, 15.1, 46.1)


def test_a_cap_circle_is_in_kilometres() -> None:
    disc = only(cap(area="<circle>46,15 10</circle>")).geometry
    assert compute_area_m2(disc) == pytest.approx(3.1416e8, rel=0.01)


def test_cap_updates_and_cancels_keep_the_name_of_the_first() -> None:
    earlier = "met@example.org,A2,2024-05-02T09:00:00+02:00 met@example.org,A1,2024-05-02T08:00:00+02:00"
    event = only(cap(id="A3", told="Cancel", references=f"<references>{earlier}</references>"))
    assert (event.external_id, event.cancelled) == ("A1", True)


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"status": "Exercise"}, "Exercise"),
        ({"told": "Ack"}, "Ack"),
        ({"area": ""}, "no location"),
        ({"area": "<polygon>46,15 46,16</polygon>"}, "four positions"),
        ({"area": "<circle>46,15 90000</circle>"}, "radius"),
        ({"area": "<circle>99,1 5</circle>"}, "'99,1' of its circle is not a latitude and longitude"),
        ({"area": "<circle>1,181 5</circle>"}, "'1,181' of its circle is not a latitude and longitude"),
        ({"area": "<circle>1,1,2,2 5</circle>"}, "'1,1,2,2' of its circle is not a latitude and longitude"),
        ({"area": "<polygon>95,15 96,15 96,16 95,15</polygon>"}, "degrees"),
        ({"area": "<polygon>-80,-170 -80,170 80,170 80,-170 -80,-170</polygon>"}, "km2"),
    ],
)
def test_cap_messages_that_are_no_events(more: dict[str, str], word: str) -> None:
    assert word in reason(cap(**more))


def test_georss_in_atom() -> None:
    entry = (
        "<entry><id>urn:x:1</id><title>&lt;script&gt;alert(1)&lt;/script&gt; Wildfire</title>"
        "<updated>2024-08-01T00:00:00Z</updated><link href='javascript:alert(1)'/>"
        "<g:polygon>40 20 40 21 41 21 40 20</g:polygon></entry>"
    )
    feed = f"<feed xmlns='http://www.w3.org/2005/Atom' xmlns:g='http://www.georss.org/georss'>{entry}</feed>"
    event = only(feed.encode())
    assert (event.source, event.kind) == ("georss:example.org/feed", EventKind.WILDFIRE)
    assert event.title == "<script>alert(1)</script> Wildfire"  # text stays text; what shows it escapes it
    assert event.link == ""
    assert event.geometry.bounds == (20, 40, 21, 41)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"hello",
        b"[1]",
        b'{"type": "FeatureCollection"}',
        b"{" * 100_000,
        b'{"a":' * 100_000,
        b"<rss",
        b"<html></html>",
        b'<!DOCTYPE a [<!ENTITY x "yyyy">]><rss>&x;</rss>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><rss/>',
        b'<?xml version="1.0" encoding="nothing"?><rss/>',
    ],
)
def test_documents_that_cannot_be_read(document: bytes) -> None:
    with pytest.raises(InvalidEvent, match=r"document|feed|object"):
        list(read_events(document, "feed"))


def test_a_bad_entry_hides_no_other() -> None:
    (good,) = (json.loads((FEEDS / "wf-1028649-event.json").read_bytes()),)
    bad = [None, 7, {}, {"properties": None}, {"properties": {"eventtype": "XX"}}]
    bad += [good | {"geometry": one} for one in (None, {}, {"type": "Point", "coordinates": [1e400, 0]})]
    bad += [good | {"geometry": {"type": "Point", "coordinates": one}} for one in ([500, 0], [10**400, 45])]
    bad += [
        good | {"properties": good["properties"] | {"fromdate": one}} for one in (None, "soon", "0001-01-01")
    ]
    events, refused = every({"type": "FeatureCollection", "features": [*bad, good]})
    assert [event.external_id for event in events] == ["WF1028649"]
    assert len(refused) == len(bad)
    assert all(one.reason for one in refused)


def test_what_nobody_thought_of_hides_no_other_entry() -> None:
    (good,), _ = recorded("wf-1028649-event.json")

    def read_one(entry: int) -> Event:
        return replace(good, magnitude=1 / entry)

    events_and_refusals = list(read_each([1, 0, 2], str, read_one))
    assert [type(one) for one in events_and_refusals] == [Event, RefusedEntry, Event]
    assert events_and_refusals[1] == RefusedEntry("0", "it cannot be read (ZeroDivisionError)")


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_nothing_in_an_entry_breaks_the_feed(data: st.DataObject) -> None:
    """Any part of a real entry replaced by anything: an event or a refusal, never an error."""
    name = data.draw(st.sampled_from(["wf-1028649-event.json", "fl-1102983-ep1-event.json"]))
    entry = json.loads((FEEDS / name).read_bytes())
    place = data.draw(st.sampled_from(["geometry", "properties", "coordinates", *entry["properties"]]))
    holder = entry if place in entry else entry["geometry"] if place == "coordinates" else entry["properties"]
    holder[place] = data.draw(_JSON)
    events, refused = every({"type": "FeatureCollection", "features": [entry]})
    assert len(events) + len(refused) == 1
