"""Announcements of new items by catalogs."""

from __future__ import annotations

from dataclasses import dataclass

from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, slots=True)
class AnnouncedItem:
    """What is read of an announced STAC item; the catalog is searched for the rest."""

    id: str
    collection: str
    footprint: BaseGeometry | None
    """Bounding box, EPSG:4326; None = unknown."""
    hosts: frozenset[str]
    """Hosts of its absolute links, in lower case."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One CloudEvent of a catalog; ``source`` and ``id`` together identify it."""

    source: str
    id: str
    items: tuple[AnnouncedItem, ...]
