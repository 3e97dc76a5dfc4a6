"""Acquisitions of a catalog, and what its orbits should have shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

#: Revisits in a row that a catalog may miss: providers skip some, and maintain their satellites.
MAX_MISSED = 3
#: What was published later was added to an archive, or reprocessed: it tells nothing about the next scene.
MAX_LAG = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Acquisition:
    """A scene that a catalog showed; times UTC."""

    platform: str
    relative_orbit: str
    """Empty where it is unknown."""
    acquired_at: datetime
    published_at: datetime | None
    """None = unknown."""


@dataclass(frozen=True, slots=True)
class Lag:
    """From acquisition to publication, over the scenes that tell it."""

    median: timedelta
    p95: timedelta


@dataclass(frozen=True, slots=True)
class Revisit:
    """What one platform's orbit should have shown of an area, and did; times UTC."""

    platform: str
    relative_orbit: str
    repeat: timedelta
    """Whole days."""
    seen: int
    """Acquisitions that the catalog shows."""
    last_at: datetime
    """The newest of them."""
    next_at: datetime
    """The next one that is not due yet."""
    missing: tuple[datetime, ...]
    """Expected acquisitions without a scene, the newest ones, in order."""
    supplied: tuple[datetime, ...] = ()
    """Expected acquisitions that only another catalog shows, in order."""

    @property
    def missed_in_a_row(self) -> int:
        """Expected acquisitions that the catalog does not show, since the newest one that it does."""
        return sum(one > self.last_at for one in (*self.missing, *self.supplied))


@dataclass(frozen=True, slots=True)
class Silence:
    """A catalog that has shown no scene of any orbit for :data:`MAX_MISSED` revisits or more."""

    last_at: datetime
    """Acquisition of the newest scene that it shows, UTC."""
    missed: int
    """Revisits that every orbit has missed in a row."""
    orbits: tuple[str, ...]
    """Platform and relative orbit of each."""
