"""Times of feeds in whatever zone they name; what is not certain is refused with its reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.dates import parse_time

TEN = "Fri, 27 Nov 2026 10:00:00"


@pytest.mark.parametrize(
    ("said", "hour"),
    [
        (f"{TEN} +1000", 0),
        (f"{TEN} +10:00", 0),
        (f"{TEN} +1000 (AEST)", 0),
        (f"{TEN} AEST", 0),
        (f"{TEN} aest", 0),
        (f"{TEN} CEST", 8),
        (f"{TEN} MEST", 8),
        (f"{TEN} JST", 1),
        (f"{TEN} EST", 15),
        (f"{TEN} PDT", 17),
        (f"{TEN} GMT", 10),
        (f"{TEN} UT", 10),
        (f"{TEN} Z", 10),
        (f"{TEN} -0000", 10),
        (f"{TEN} GMT+2", 8),
        (f"{TEN} UTC-02:00", 12),
        ("27 Nov 26 10:00 +0100", 9),
        ("Fri Nov 27 10:00:00 CET 2026", 9),
        ("Friday, 27-Nov-26 10:00:00 GMT", 10),
        ("2026-11-27T10:00:00", 10),
        ("2026-11-27T10:00:00Z", 10),
        ("2026-11-27T10:00:00+02", 8),
        ("2026-11-27 10:00 JST", 1),
        ("2026-11-27T10:00:00 UTC", 10),
        (1795773600000, 10),
    ],
)
def test_a_time_is_read_in_its_zone(said: object, hour: int) -> None:
    assert parse_time(said) == datetime(2026, 11, 27, hour, tzinfo=UTC)


def test_a_zone_of_half_an_hour() -> None:
    assert parse_time(f"{TEN} ACST") == datetime(2026, 11, 27, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (f"{TEN} IST", "India, Ireland or Israel"),
        (f"{TEN} BST", "Bangladesh"),
        (f"{TEN} XYZ", "which is unknown"),
        (f"{TEN} PM", "which is unknown"),
        (TEN, "has no time zone"),
        ("Fri Nov 27 10:00:00 2026", "has no time zone"),
        (f"{TEN} +2500", "is not a time"),
        ("yesterday", "is not a time"),
        ("", "is not a time"),
        (None, "is not a time"),
        (True, "is not a time"),
        ("1969-12-31T00:00:00Z", "before any satellite"),
    ],
)
def test_what_is_not_certain_is_refused(said: object, word: str) -> None:
    with pytest.raises(InvalidEvent, match=word):
        parse_time(said)


def test_a_format_may_ask_for_a_zone() -> None:
    assert parse_time("2026-11-27T10:00:00+01:00", zone_required=True).hour == 9
    with pytest.raises(InvalidEvent, match="has no time zone"):
        parse_time("2026-11-27T10:00:00", zone_required=True)
