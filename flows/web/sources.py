"""Sources that readers may try instructions on: those of the watches that they see, and shipped profiles.

Readers name a source by its id and never by a URL, so that nobody makes this server or a worker read from a host that
no operator chose.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fastapi import HTTPException
from sqlalchemy import Connection

from segwatch.db.readers import Visibility
from segwatch.db.sources import WatchSource, list_watch_sources
from segwatch.geo.sources import profiles
from segwatch.geo.types.source import Profile


@dataclass(slots=True)
class Source:
    """A profile with a catalog."""

    id: str
    profile: Profile
    catalog: str
    """URL of the catalog, which readers are not shown."""
    catalog_name: str = ""
    used: list[WatchSource] = field(default_factory=list)
    """The watches that use it and that the reader may see."""

    def describe(self) -> dict[str, Any]:
        """Describe the source as JSON."""
        times = [
            (one.first_at, one.last_at)
            for one in self.used
            if one.first_at is not None and one.last_at is not None
        ]
        return {
            "id": self.id,
            "title": self.profile.title,
            "collection": self.profile.collection,
            "gsd_m": self.profile.gsd_m,
            "attribution": self.profile.attribution or None,
            "license": self.profile.license or None,
            "watches": [one.watch for one in self.used],
            "scenes": max((one.scenes for one in self.used), default=None),
            "first_at": min((first for first, _ in times), default=None),
            "last_at": max((last for _, last in times), default=None),
            "bbox": self.used[0].bbox if self.used else None,
        }


def list_sources(conn: Connection, sight: Visibility) -> list[Source]:
    """List the sources that a reader may use: those of watches first."""
    visible = [one for one in list_watch_sources(conn) if sight.may_read(one.watch)]
    return [*_join(visible), *_list_shipped()]


def find_source(conn: Connection, sight: Visibility, identity: str) -> Source:
    """Find a source by its id.

    Raises
    ------
    HTTPException
        422: there is none that this reader may use.
    """
    for one in list_sources(conn, sight):
        if one.id == identity:
            return one
    raise HTTPException(422, f"source: there is no source {identity[:100]!r}; /api/sources lists sources")


def _join(used: Iterable[WatchSource]) -> list[Source]:
    """Join watches that use the same profile and catalog."""
    found: dict[tuple[Profile, str, str], Source] = {}
    for one in used:
        key = one.profile, one.catalog, one.catalog_name
        if key not in found:
            found[key] = Source(f"watch:{one.watch}", *key)
        found[key].used.append(one)
    return list(found.values())


def _list_shipped() -> list[Source]:
    return [
        Source(f"profile:{one.name}", one, one.catalog) for one in _load_shipped() if one.catalog is not None
    ]


@cache
def _load_shipped() -> tuple[Profile, ...]:
    return tuple(profiles.load(name) for name in profiles.list_names())
