"""Alerts as Atom and CAP feeds, read back by the readers that segwatch has for other people's feeds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import shapely
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from segwatch.db import events
from segwatch.flows.web.application import create_app
from segwatch.geo.events.document import read_events
from segwatch.geo.types.event import Event
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.invariants.conftest import Ledger, SceneContent, cells

ATOM = "{http://www.w3.org/2005/Atom}"
GEORSS = "{http://www.georss.org/georss}"
CAP = "{urn:oasis:names:tc:emergency:cap:1.2}"


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst"))) as made:
        yield made


def entries(client: TestClient) -> list[ET.Element]:
    answer = client.get("/feeds/lakes/atom.xml")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/atom+xml"
    return ET.fromstring(answer.content).findall(f"{ATOM}entry")  # noqa: S314 - our own


def told(parent: ET.Element, name: str) -> str:
    found = parent.findtext(name)
    assert found is not None
    return found


def cap(client: TestClient, entry: ET.Element) -> ET.Element:
    (link,) = (one for one in entry.findall(f"{ATOM}link") if one.get("rel") == "alternate")
    answer = client.get(str(link.get("href")))
    assert answer.headers["content-type"] == "application/cap+xml"
    return ET.fromstring(answer.content)  # noqa: S314 - our own


def test_an_alert_is_an_entry_with_its_outline_and_a_cap_message(client: TestClient, ledger: Ledger) -> None:
    (alert,) = ledger.rows("SELECT alert_id FROM watch.alerts")
    (entry,) = entries(client)
    assert told(entry, f"{ATOM}id") == f"urn:uuid:{alert['alert_id']}"
    numbers = [float(one) for one in told(entry, f"{GEORSS}polygon").split()]
    ring = shapely.Polygon(list(zip(numbers[1::2], numbers[::2], strict=True)))
    assert ring.symmetric_difference(LAKE).area < 1e-9
    message = cap(client, entry)
    assert (told(message, f"{CAP}identifier"), told(message, f"{CAP}msgType")) == (
        str(alert["alert_id"]),
        "Alert",
    )
    pairs = [pair.split(",") for pair in told(message, f"{CAP}info/{CAP}area/{CAP}polygon").split()]
    assert pairs[0] == pairs[-1], "closed"
    outline = shapely.Polygon([(float(lon), float(lat)) for lat, lon in pairs])
    assert outline.symmetric_difference(LAKE).area < 1e-9
    assert told(message, f"{CAP}sent").endswith("-00:00")


def test_what_is_retracted_cancels_the_first_message_and_keeps_its_entry(
    client: TestClient, ledger: Ledger
) -> None:
    (before,) = entries(client)
    first = cap(client, before)
    ledger.arrive({1: SceneContent(())}, [1], version=1)
    (after,) = entries(client)
    assert told(after, f"{ATOM}id") == told(before, f"{ATOM}id")
    assert told(after, f"{ATOM}published") == told(before, f"{ATOM}published")
    assert told(after, f"{ATOM}title").startswith("Retracted: ")
    cancel = cap(client, after)
    assert told(cancel, f"{CAP}msgType") == "Cancel"
    named = ",".join(told(first, f"{CAP}{one}") for one in ("sender", "identifier", "sent"))
    assert told(cancel, f"{CAP}references") == named
    assert told(cancel, f"{CAP}identifier") != told(first, f"{CAP}identifier")


def moment(element: ET.Element) -> datetime:
    return datetime.fromisoformat(told(element, f"{CAP}sent"))


def test_what_holds_again_or_is_elsewhere_updates_every_message_before(
    client: TestClient, ledger: Ledger
) -> None:
    """Within one second, even: an update is later than what it updates."""
    messages: list[ET.Element] = []
    updated: list[datetime] = []

    def look() -> None:
        (entry,) = (one for one in entries(client) if told(one, f"{ATOM}id") == f"urn:uuid:{alert}")
        messages.append(cap(client, entry))
        updated.append(datetime.fromisoformat(told(entry, f"{ATOM}updated")))

    ledger.arrive({3: SceneContent((LAKE,))}, [3])
    ledger.arrive({4: SceneContent((LAKE, cells(5, 5, 7, 7)))}, [4])
    (alert,) = (
        str(row["alert_id"])
        for row in ledger.rows("SELECT alert_id FROM watch.alerts ORDER BY valid_at DESC LIMIT 1")
    )
    look()
    # a lake there on the day before: it appeared then
    ledger.arrive({2: SceneContent((LAKE, cells(5, 5, 7, 7)))}, [2])
    look()
    ledger.arrive({2: SceneContent((LAKE,))}, [2], version=1)
    look()
    with ledger.engine.begin() as conn:
        move = "UPDATE segwatch.change SET geom = ST_Translate(geom, 0.001, 0) WHERE id = (SELECT change_id"
        conn.execute(text(f"{move} FROM segwatch.alert WHERE id = :id)"), {"id": alert})
    ledger.arrive({2: SceneContent((LAKE,))}, [2], version=2)
    look()
    assert [told(one, f"{CAP}msgType") for one in messages] == ["Alert", "Cancel", "Update", "Update"]
    assert "was reinstated" in told(messages[2], f"{CAP}note")
    names = [told(one, f"{CAP}identifier") for one in messages]
    assert names[0] == alert
    assert len(set(names)) == 4
    for count, one in enumerate(messages):
        before = [",".join(told(each, f"{CAP}{name}") for name in ("sender", "identifier", "sent"))
                  for each in messages[:count]]  # fmt: skip
        assert one.findtext(f"{CAP}references", "").split() == before
    assert [moment(one) for one in messages] == updated == sorted(set(updated))
    # other points along the same outline are no news
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.change SET geom = ST_Segmentize(geom, 0.001)"))
    ledger.arrive({2: SceneContent((LAKE,))}, [2], version=3)
    look()
    assert names[-1] == told(messages[-1], f"{CAP}identifier")


def test_the_reader_of_cap_feeds_follows_alert_cancel_and_update(
    client: TestClient, ledger: Ledger, engine: Engine
) -> None:
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.change SET target = 'flood'"))
        (alert,) = conn.execute(text("SELECT id FROM segwatch.alert")).scalars()

    def tell() -> tuple[events.Recorded, Event]:
        (event,) = read_events(client.get(f"/feeds/cap/{alert}.xml").content, "feed")
        assert isinstance(event, Event), event
        with engine.begin() as conn:
            return events.record(conn, event), event

    def correct(kind: str) -> None:
        add = "INSERT INTO segwatch.alert_correction SELECT :id, 1 + count(*), :kind, now()"
        with ledger.engine.begin() as conn:
            conn.execute(text(f"{add} FROM segwatch.alert_correction"), {"id": alert, "kind": kind})

    said = [tell()]
    for kind in ("retracted", "reinstated", "retracted"):
        correct(kind)
        said.append(tell())
    assert [recorded.value for recorded, _ in said] == ["new", "revised", "revised", "revised"]
    assert [event.cancelled for _, event in said] == [False, True, False, True]
    assert {event.external_id for _, event in said} == {str(alert)}, "one event"


def test_the_reader_of_cap_feeds_understands_the_message(client: TestClient, ledger: Ledger) -> None:
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.change SET target = 'flood'"))
    (entry,) = entries(client)
    (link,) = (one for one in entry.findall(f"{ATOM}link") if one.get("rel") == "alternate")
    (event,) = read_events(client.get(str(link.get("href"))).content, "feed")
    assert isinstance(event, Event), event
    assert (event.source, event.kind, event.cancelled) == ("cap:segwatch", "flood", False)
    assert event.geometry.symmetric_difference(LAKE).area < 1e-9


def test_names_cannot_break_the_feed(client: TestClient, ledger: Ledger) -> None:
    hostile = "</title><script>alert(1)</script>\x0b & co"
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.change SET target = :name"), {"name": hostile})
        conn.execute(text("UPDATE segwatch.alert SET rule = :name"), {"name": hostile})
    (entry,) = entries(client)
    title = told(entry, f"{ATOM}title")
    assert "<script>" in title, "as text"
    assert "\x0b" not in title
    assert entry.find(".//script") is None
    assert "<script>" in told(cap(client, entry), f"{CAP}info/{CAP}event")


def test_several_grounds_are_told_by_their_box_and_each_in_cap(client: TestClient, ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    inner = cells(2, 2, 4, 4)
    ledger.arrive([SceneContent((inner,)), SceneContent((cells(1, 2, 5, 4),))], [0, 1])
    (entry,) = entries(client)
    south, west, north, east = (float(one) for one in told(entry, f"{GEORSS}box").split())
    assert west == pytest.approx(10.002)
    assert east == pytest.approx(10.01)
    assert south < north
    assert len(cap(client, entry).findall(f"{CAP}info/{CAP}area/{CAP}polygon")) == 2


def test_what_is_not_there_is_not_found(client: TestClient, ledger: Ledger) -> None:
    assert client.get("/feeds/nothing/atom.xml").status_code == 404
    assert client.get("/feeds/cap/00000000-0000-0000-0000-000000000000.xml").status_code == 404
    assert client.get("/feeds/cap/x.xml").status_code == 422
