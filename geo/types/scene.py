"""Items and scenes: what a catalog holds of one acquisition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from shapely.geometry.base import BaseGeometry

#: Properties of different catalogs that say when an item was made, the best first.
MADE = ("s2:generation_time", "processing:datetime", "published", "created")


def made_of(properties: Mapping[str, Any]) -> str:
    """When an item was made, in its catalog's words; empty where that does not say."""
    given = (properties.get(name) for name in MADE)
    return next((str(value) for value in given if value not in (None, "")), "")


def baseline_number(baseline: str) -> tuple[int, ...]:
    """A processing baseline as it sorts; empty where it is unknown, before every other one."""
    return tuple(int(part) for part in re.findall(r"\d+", baseline))


@dataclass(frozen=True, slots=True)
class Item:
    """One version of one STAC item, reduced to what segwatch uses."""

    id: str
    collection: str
    href: str
    """Self link; the row-level link an analyst follows."""
    acquired_at: datetime
    updated_at: datetime | None
    platform: str
    relative_orbit: str
    """Relative orbit or path, empty when the catalog has none."""
    processing_baseline: str
    footprint: BaseGeometry
    assets: Mapping[str, str]
    """Asset key -> absolute href."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    catalog: str = ""
    """Identity of the catalog, see :mod:`segwatch.geo.identity`: ids are unique within one only. Empty = unknown."""
    store: str = ""
    """As :attr:`Profile.store` of the profile that the links were chosen for."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One acquisition over a watch's area: items of one collection of one catalog, platform pass and solar day."""

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
    """Identity of the catalog that all items were found in. Empty = unknown."""

    @property
    def key(self) -> str:
        """Identity of the acquisition, stable across reprocessing of its items. Two catalogs never share one.

        The last four parts hold no slash of their own, so what stands before them is the catalog.
        """
        names = (self.collection, self.platform, self.relative_orbit)
        within = "/".join(one.replace("%", "%25").replace("/", "%2F") for one in names)
        return "/".join(filter(None, (self.catalog, f"{within}/{self.solar_day.isoformat()}")))


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a catalog was searched."""

    reconciled_at: datetime | None = None
    """When everything it holds was last compared with what is known; None = never."""
    reconciling_to: datetime | None = None
    """Acquisition time up to which a comparison that goes on has come."""
    updated_to: datetime | None = None
    """Newest ``updated`` of the items seen; None = unknown, or some item has none."""
