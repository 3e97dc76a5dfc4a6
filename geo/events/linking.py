"""Which entries of different feeds tell of one event of the world."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import centre
from segwatch.geo.crs import local_equal_area, to_local
from segwatch.geo.types.event import Event, EventKind

#: Feeds agree on an earthquake's place and time; they name a flood's or a fire's start days apart, and its place by
#: a town of the region. (kilometres, time between the beginnings)
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


#: No degree of latitude is shorter, and the projection shortens none to less than this near its centre.
_LEAST_DEGREE_M = 75_000.0


def linked(events: Sequence[Event]) -> list[list[Event]]:
    """Events by what they tell of, each group and the groups in order of time; two entries of one feed stay apart.

    An entry belongs to a group when it is near one of its members, in place and time, and of its kind.
    """
    groups: list[list[Event]] = []
    for event in sorted(events, key=_order):
        for group in groups:
            apart = all(member.source != event.source for member in group)
            if apart and any(same(event, member) for member in group):
                group.append(event)
                break
        else:
            groups.append([event])
    return groups


def same(one: Event, other: Event) -> bool:
    """Whether two entries are of one kind, and near in place and time."""
    if one.kind is not other.kind:
        return False
    kilometres, between = _NEAR[one.kind]
    if abs(one.occurred_at - other.occurred_at) > between:
        return False
    return _are_near(one.geometry, other.geometry, kilometres * 1000)


def _are_near(one: BaseGeometry, other: BaseGeometry, metres: float) -> bool:
    _, south, _, north = one.bounds
    _, other_south, _, other_north = other.bounds
    if max(south - other_north, other_south - north) * _LEAST_DEGREE_M > metres:
        return False  # too far apart north to south
    crs = local_equal_area(centre(one))
    try:
        local, other_local = to_local(one, crs), to_local(other, crs)
    except ValueError:  # on the other side of the world
        return False
    # a prepared shape has an index of its edges: without it every edge is held against every other one
    shapely.prepare(local)
    return bool(shapely.dwithin(local, other_local, metres))


def _order(event: Event) -> tuple[datetime, str, str]:
    return event.occurred_at, event.source, event.external_id
