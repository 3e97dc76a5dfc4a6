"""Find entries of different feeds that describe the same event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_centre
from segwatch.geo.crs import make_local_equal_area, to_crs
from segwatch.geo.types.event import Event, EventKind

#: Maximum distance in kilometres and time between onsets. Feeds agree on the place and time of an earthquake; for
#: floods and fires, onsets differ by days and the place may be a town of the region.
_NEAR: dict[EventKind, tuple[float, timedelta]] = {
    EventKind.EARTHQUAKE: (100.0, timedelta(minutes=10)),
    EventKind.TSUNAMI: (500.0, timedelta(hours=6)),
    EventKind.LANDSLIDE: (10.0, timedelta(days=2)),
    EventKind.OIL_SPILL: (50.0, timedelta(days=3)),
    EventKind.VOLCANO: (20.0, timedelta(days=30)),
    EventKind.WILDFIRE: (20.0, timedelta(days=5)),
    EventKind.CYCLONE: (400.0, timedelta(days=3)),
    EventKind.FLOOD: (100.0, timedelta(days=5)),
    EventKind.DROUGHT: (500.0, timedelta(days=60)),
}

#: Lower bound for the length of a degree of latitude, also in the local projection.
_MIN_DEGREE_M = 75_000.0


def group_same_events(events: Sequence[Event]) -> list[list[Event]]:
    """Group entries that describe the same event; groups and their members are in order of onset.

    An entry joins a group if it has the same kind as a member and is near it in place and time. Two entries of one feed
    are never grouped.
    """
    groups: list[list[Event]] = []
    for event in sorted(events, key=_order):
        for group in groups:
            apart = all(member.source != event.source for member in group)
            if apart and any(is_same_event(event, member) for member in group):
                group.append(event)
                break
        else:
            groups.append([event])
    return groups


def is_same_event(one: Event, other: Event) -> bool:
    """Whether two entries have the same kind and are near in place and time."""
    if one.kind is not other.kind:
        return False
    kilometres, between = _NEAR[one.kind]
    if abs(one.occurred_at - other.occurred_at) > between:
        return False
    return _are_near(one.geometry, other.geometry, kilometres * 1000)


def _are_near(one: BaseGeometry, other: BaseGeometry, metres: float) -> bool:
    _, south, _, north = one.bounds
    _, other_south, _, other_north = other.bounds
    if max(south - other_north, other_south - north) * _MIN_DEGREE_M > metres:
        return False  # too far apart north to south
    crs = make_local_equal_area(compute_centre(one))
    try:
        local, other_local = to_crs(one, crs), to_crs(other, crs)
    except ValueError:  # beyond the projection: on the other side of the earth
        return False
    # preparing indexes the edges; otherwise every pair of edges is compared
    shapely.prepare(local)
    return bool(shapely.dwithin(local, other_local, metres))


def _order(event: Event) -> tuple[datetime, str, str]:
    return event.occurred_at, event.source, event.external_id
