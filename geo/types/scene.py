"""Items, scenes and watermarks of a catalog."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from shapely.geometry.base import BaseGeometry

PRODUCTION_TIME_PROPERTIES = ("s2:generation_time", "processing:datetime", "published", "created")
"""Properties that tell when an item was produced, in order of preference."""


def get_production_time(properties: Mapping[str, Any]) -> str:
    """Get the production time of an item as its catalog writes it; empty where it is unknown."""
    values = (properties.get(name) for name in PRODUCTION_TIME_PROPERTIES)
    return next((str(value) for value in values if value not in (None, "")), "")


def to_baseline_key(baseline: str) -> tuple[int, ...]:
    """Convert a processing baseline to a sort key; the empty key of an unknown baseline sorts first."""
    return tuple(int(part) for part in re.findall(r"\d+", baseline))


@dataclass(frozen=True, slots=True)
class Item:
    """One version of one STAC item, reduced to what segwatch uses."""

    id: str
    collection: str
    href: str
    """Self link, shown to analysts as provenance."""
    acquired_at: datetime
    updated_at: datetime | None
    platform: str
    relative_orbit: str
    """Relative orbit or WRS path; empty where it is unknown."""
    processing_baseline: str
    footprint: BaseGeometry
    assets: Mapping[str, str]
    """Absolute href by asset key."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    catalog: str = ""
    """Identity of the catalog, see :mod:`segwatch.geo.identity`; empty = unknown."""
    store: str = ""
    """:attr:`Profile.store` of the profile that the hrefs were chosen for."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One acquisition over a watch's area: items of one catalog, collection, platform pass and solar day."""

    collection: str
    platform: str
    relative_orbit: str
    solar_day: date
    acquired_at: datetime
    """Earliest acquisition time of the items."""
    items: tuple[Item, ...]
    """Sorted by id."""
    footprint: BaseGeometry
    catalog: str = ""
    """Identity of the catalog of all items; empty = unknown."""

    @property
    def key(self) -> str:
        """Identity of the acquisition: ``catalog/collection/platform/relative_orbit/solar_day``.

        It is stable across reprocessing of items and differs between catalogs. Slashes in the last four parts are
        escaped, so everything before them is the catalog.
        """
        parts = (self.collection, self.platform, self.relative_orbit)
        escaped = "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)
        return "/".join(filter(None, (self.catalog, f"{escaped}/{self.solar_day.isoformat()}")))


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a catalog was searched."""

    reconciled_at: datetime | None = None
    """Time of the last complete reconcile; None = never."""
    reconciling_to: datetime | None = None
    """Acquisition time that an unfinished reconcile has reached."""
    updated_to: datetime | None = None
    """Newest ``updated`` time of the items found; None = unknown, or some item has none."""
