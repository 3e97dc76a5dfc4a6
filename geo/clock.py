"""Limit how far timestamps of publishers may lie in the future. Standard library only.

Publishers' timestamps order their revisions. One that is far ahead, by mistake or on purpose, would supersede every
later revision until that day. Such a timestamp is stored as published, but sorts as the time of receipt.
"""

from __future__ import annotations

from datetime import datetime, timedelta

EVENT_TOLERANCE = timedelta(hours=1)
"""For the last update of an event: publishers revise events within minutes."""
ITEM_TOLERANCE = timedelta(days=1)
"""For the times of an item: some catalogs write local time as UTC."""


def clamp_to_receipt(claimed: datetime, received: datetime, tolerance: timedelta) -> datetime:
    """Return the claimed time, or the time of receipt where the claim lies too far in the future.

    Parameters
    ----------
    claimed
        Timestamp of the publisher, timezone-aware.
    received
        Time of receipt by our clock, timezone-aware.
    tolerance
        How far the publisher's clock may be ahead.
    """
    return received if is_too_far_ahead(claimed, received, tolerance) else claimed


def is_too_far_ahead(claimed: datetime, received: datetime, tolerance: timedelta) -> bool:
    """Whether a claimed time lies further in the future than the tolerance allows."""
    # received + tolerance could overflow; this difference cannot
    return claimed - received > tolerance
