"""Addresses of the STAC API's documents, and the watches behind its collections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import HTTPException
from sqlalchemy import Connection

from segwatch.db import analyst
from segwatch.flows.export.stac_items import REVIEWED, Addresses, name_collection


@dataclass(frozen=True, slots=True)
class CatalogSite:
    """A STAC API at an address."""

    root: str
    """Address of the landing page, without a slash at its end."""

    @property
    def search(self) -> str:
        """Address of the search."""
        return f"{self.root}/search"

    def link_collection(self, collection: str) -> str:
        """Return the address of a collection."""
        return f"{self.root}/collections/{collection}"

    def locate(self, collection: str) -> Addresses:
        """Return the addresses of a collection's items."""
        own = self.link_collection(collection)
        return Addresses(
            root=self.root,
            collection=own,
            item=lambda name: f"{own}/items/{name}",
            detections=lambda name: f"{own}/items/{name}/detections.geojson",
            reviewed=f"{own}/items/{REVIEWED}/objects.geojson",
            is_absolute=True,
        )

    def find_watches(self, conn: Connection, collections: Sequence[str]) -> tuple[str, ...]:
        """Find the watches of collections among those that the session may read; unknown ones are left out."""
        named = {name_collection(one): one for one in analyst.list_watch_names(conn)}
        return tuple(named[one] for one in sorted(set(collections)) if one in named)

    def find_watch(self, conn: Connection, collection: str) -> str:
        """Find the watch of a collection.

        Raises
        ------
        fastapi.HTTPException
            404: there is none that the session may read.
        """
        found = self.find_watches(conn, [collection])
        if not found:
            raise HTTPException(
                404, f"there is no collection {collection}; {self.root}/collections lists them"
            )
        return found[0]
