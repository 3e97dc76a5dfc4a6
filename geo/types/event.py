"""Events in the world, as feeds report them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


class EventKind(enum.StrEnum):
    """Kind of event."""

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
    """Severity as published; feeds without levels leave it out."""

    GREEN = "green"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


@dataclass(frozen=True, slots=True)
class EventName:
    """One of the identifiers that a publisher uses for an event."""

    source: str
    """As :attr:`Event.source`."""
    external_id: str
    since: datetime | None = None
    """Sending time of the message that used this identifier, where known."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as one feed reports it at one time."""

    source: str
    """``gdacs``, ``usgs``, ``eonet``, or ``cap:SENDER`` and ``georss:FEED``."""
    external_id: str
    """The feed's identifier, kept across revisions."""
    kind: EventKind
    title: str
    occurred_at: datetime
    geometry: BaseGeometry
    """Point, points of a track, line or polygon, EPSG:4326."""
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    level: EventLevel | None = None
    magnitude: float | None = None
    magnitude_unit: str = ""
    population: int | None = None
    """People exposed, as the feed counts them."""
    link: str = ""
    cancelled: bool = False
    """Whether the publisher cancelled it."""
    shaking: str = ""
    """Earthquakes: URL of intensity contours, or of the document that links to them."""
    names: tuple[EventName, ...] = ()
    """All identifiers of the event in this entry, including those of earlier messages and other networks.

    Entries that share one are revisions of one event, in whatever order they arrive. Empty = only ``source``
    and ``external_id``."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A publisher cancels an event without repeating its kind or place."""

    names: tuple[EventName, ...]
    """Identifiers of the event; at least one."""
    withdrawn_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """A feed entry that was not accepted as an event, with the reason."""

    entry: str
    reason: str
