"""How far clocks elsewhere are believed. Standard library only.

A publisher's times put what it says in order. One that is far ahead, by a mistake or on purpose, would be newer than
everything that comes after it, until that day. So a time ahead of ours is kept as it was claimed, and counts as the
time at which it was received.
"""

from __future__ import annotations

from datetime import datetime, timedelta

#: Of an event's last change: publishers change what they say of an event within minutes.
EVENT_TOLERANCE = timedelta(hours=1)
#: Of an item: some catalogs take local time for UTC.
ITEM_TOLERANCE = timedelta(days=1)


def believable(claimed: datetime, received: datetime, tolerance: timedelta) -> datetime:
    """The time that a claim counts as: no later than when it was received, but for a small mistake.

    Args:
        claimed: by somebody else, timezone-aware.
        received: by our clock, timezone-aware.
        tolerance: by which the other clock may be ahead.
    """
    return received if is_ahead(claimed, received, tolerance) else claimed


def is_ahead(claimed: datetime, received: datetime, tolerance: timedelta) -> bool:
    """Whether a time is too far ahead to be right."""
    # subtracted on this side: a claim may be the last moment of the calendar
    return claimed - received > tolerance
