"""Events of the world, as their feeds tell them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from shapely.geometry.base import BaseGeometry


class EventKind(enum.StrEnum):
    """What happened in the world."""

    EARTHQUAKE = "earthquake"
    FLOOD = "flood"
    WILDFIRE = "wildfire"
    CYCLONE = "cyclone"
    VOLCANO = "volcano"
    LANDSLIDE = "landslide"
    OIL_SPILL = "oil_spill"
    DROUGHT = "drought"
    TSUNAMI = "tsunami"


class EventLevel(enum.StrEnum):
    """How grave the publisher holds it to be; feeds without levels say nothing."""

    GREEN = "green"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


@dataclass(frozen=True, slots=True)
class EventName:
    """One of the names that a publisher has for an event."""

    source: str
    external_id: str
    since: datetime | None = None
    """When the message of this name was sent, where that is stated."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as one feed tells it at one time."""

    source: str
    """``gdacs``, ``usgs``, ``eonet``, or ``cap:SENDER`` and ``georss:FEED``."""
    external_id: str
    """The feed's name for it; later revisions keep it."""
    kind: EventKind
    title: str
    occurred_at: datetime
    geometry: BaseGeometry
    """Point, points of a track, line or area."""
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    level: EventLevel | None = None
    magnitude: float | None = None
    magnitude_unit: str = ""
    population: int | None = None
    """People exposed, by the feed's own rule."""
    link: str = ""
    cancelled: bool = False
    """The publisher took it back."""
    shaking: str = ""
    """Of an earthquake: address of contours of intensity, or of the document that links to them."""
    names: tuple[EventName, ...] = ()
    """All names that this entry gives the event: of the messages before it, of other networks. Entries that have one in
    common are revisions of one event, whatever order they arrive in. Empty = ``source`` and ``external_id`` alone."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A publisher takes an event back and says no more about it: no kind, or no place."""

    names: tuple[EventName, ...]
    """Of the event; at least one."""
    withdrawn_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An entry of a feed that is no event, and why."""

    entry: str
    reason: str
