"""Events of many names are one event, whatever order their messages arrive in."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from segwatch.db import events
from segwatch.flows.events.ingest import record_events
from segwatch.flows.events.source_selection import list_event_names
from segwatch.geo.events.linking import group_same_events
from segwatch.geo.types.event import Event

AREA = "<area><areaDesc>x</areaDesc><polygon>50,20 50,20.2 50.2,20.2 50.2,20 50,20</polygon></area>"


def cap(number: int, told: str, *before: int, sender: str = "met@example.org", info: bool = True) -> bytes:
    """Message C<number>, sent in the hour of its number."""
    references = " ".join(f"{sender},C{one},2026-05-01T{one:02}:00:00+00:00" for one in before)
    block = (
        f"<info><category>Met</category><event>Flood warning {number}</event><urgency>Immediate</urgency>"
        f"<severity>Severe</severity><certainty>Likely</certainty>{AREA}</info>"
    )
    return (
        '<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">'
        f"<identifier>C{number}</identifier><sender>{sender}</sender><sent>2026-05-01T{number:02}:00:00+00:00</sent>"
        f"<status>Actual</status><msgType>{told}</msgType><scope>Public</scope>"
        f"{f'<references>{references}</references>' if references else ''}{block if info else ''}</alert>"
    ).encode()


def known(engine: Engine) -> list[Event]:
    with engine.connect() as conn:
        return events.load_events(conn)


def told(engine: Engine) -> list[tuple[str, str, bool]]:
    return [(one.external_id, one.title, one.cancelled) for one in known(engine)]


CHAIN = [cap(1, "Alert"), cap(2, "Update", 1), cap(3, "Update", 2), cap(4, "Cancel", 3)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_a_chain_of_references_is_one_event_in_any_order(engine: Engine, order: tuple[int, ...]) -> None:
    for one in order:
        record_events(engine, CHAIN[one], "f")
    (event,) = known(engine)
    assert (event.external_id, event.title, event.cancelled) == ("C1", "Flood warning 4", True)
    assert [name.external_id for name in event.names] == ["C1", "C2", "C3", "C4"]
    rows = _rows(engine)
    for one in order:
        assert record_events(engine, CHAIN[one], "f")[0].keys() <= {"unchanged", "stale"}
    assert _rows(engine) == rows, "saying it again changes nothing"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_a_cancel_that_says_nothing_else_ends_the_event_in_any_order(
    engine: Engine, order: tuple[int, ...]
) -> None:
    messages = [cap(1, "Alert"), cap(2, "Update", 1), cap(3, "Cancel", 2, info=False)]
    for one in order:
        record_events(engine, messages[one], "f")
    (event,) = known(engine)
    assert (event.external_id, event.title, event.cancelled) == ("C1", "Flood warning 2", True)
    assert record_events(engine, messages[2], "f")[0] == {"unchanged": 1}
    # what comes after the cancel holds again
    record_events(engine, cap(4, "Update", 3), "f")
    assert told(engine) == [("C1", "Flood warning 4", False)]


def _rows(engine: Engine) -> list[Any]:
    with engine.connect() as conn:
        tables = ("event", "event_name")
        return [conn.execute(text(f"SELECT * FROM segwatch.{one} ORDER BY 1, 2")).all() for one in tables]


def test_a_cancel_before_everything_leaves_nothing_in_force(engine: Engine) -> None:
    assert record_events(engine, cap(3, "Cancel", 1, info=False), "f")[0] == {"withdrawn": 1}
    assert known(engine) == []
    record_events(engine, cap(1, "Alert"), "f")
    assert told(engine) == [("C1", "Flood warning 1", True)]


def test_an_identifier_is_unique_with_its_sender_only(engine: Engine) -> None:
    record_events(engine, cap(1, "Alert"), "f")
    record_events(engine, cap(1, "Alert", sender="other@example.org"), "f")
    record_events(engine, cap(2, "Cancel", 1, sender="other@example.org"), "f")
    assert sorted((one.source, one.cancelled) for one in known(engine)) == [
        ("cap:met@example.org", False),
        ("cap:other@example.org", True),
    ]


def test_two_alerts_that_one_message_continues_are_one_event(engine: Engine) -> None:
    record_events(engine, cap(1, "Alert"), "f")
    record_events(engine, cap(2, "Alert"), "f")
    assert len(known(engine)) == 2
    record_events(engine, cap(5, "Update", 2, 1), "f")
    assert told(engine) == [("C1", "Flood warning 5", False)]
    with engine.connect() as conn:
        (row,) = events.list_events(conn)
    assert row["revisions"] == 3, "nothing that was said is lost"
    assert row["names"] == [f"cap:met@example.org/C{number}" for number in (1, 2, 5)]
    assert row["place"] == "POINT(20.1 50.1)"


def usgs(identity: str, ids: str, updated: int, **more: Any) -> bytes:
    properties = {
        "mag": 6.8, "type": "earthquake", "time": 1_795_773_600_000, "updated": 1_795_773_600_000 + updated * 1000,
        "title": f"M 6.8 of {identity}", "ids": ids, "status": "reviewed",
    }  # fmt: skip
    geometry = {"type": "Point", "coordinates": [-124.3, 40.4, 12]}
    feature = {"type": "Feature", "id": identity, "geometry": geometry, "properties": properties | more}
    return json.dumps(feature).encode()


def test_an_earthquake_keeps_its_name_when_the_preferred_id_changes(engine: Engine) -> None:
    assert record_events(engine, usgs("us1", ",us1,", 1), "f")[0] == {"new": 1}
    assert record_events(engine, usgs("nc2", ",us1,nc2,", 2), "f")[0] == {"revised": 1}
    (event,) = known(engine)
    assert (event.external_id, event.title) == ("us1", "M 6.8 of nc2")
    assert list_event_names(event) == ["usgs/us1", "usgs/nc2"]
    assert len(group_same_events(known(engine))) == 1
    assert record_events(engine, usgs("us1", ",us1,", 1), "f")[0] == {"stale": 1}


def test_ids_that_were_two_events_become_one(engine: Engine) -> None:
    record_events(engine, usgs("us1", ",us1,", 5), "f")
    record_events(engine, usgs("nc2", ",nc2,", 1), "f")
    assert len(known(engine)) == 2
    record_events(engine, usgs("nc2", ",us1,nc2,", 3), "f")
    (event,) = known(engine)
    assert (event.external_id, event.title) == ("us1", "M 6.8 of us1"), "the newest of what both said"


def test_the_deletion_of_an_old_id_ends_the_event(engine: Engine) -> None:
    record_events(engine, usgs("us1", ",us1,", 1), "f")
    record_events(engine, usgs("nc2", ",us1,nc2,", 2), "f")
    record_events(engine, usgs("us1", ",us1,", 3, status="deleted"), "f")
    (event,) = known(engine)
    assert event.cancelled
    record_events(engine, usgs("nc2", ",us1,nc2,", 2), "f")
    assert known(engine)[0].cancelled, "what was said before the deletion changes nothing"


def test_what_was_in_the_ledger_before_names_were_kept_is_found(engine: Engine) -> None:
    record_events(engine, cap(1, "Alert"), "f")
    assert known(engine)[0].names[0].since == datetime(2026, 5, 1, 1, tzinfo=UTC)
    with engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.event_name SET since = NULL"))  # as the migration leaves them
    record_events(engine, cap(2, "Cancel", 1), "f")
    assert told(engine) == [("C1", "Flood warning 2", True)]
