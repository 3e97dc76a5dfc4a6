"""Scenes whose pixels are shown: on the map, and in the pictures of an assessment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from shapely import wkb

from segwatch.db import analyst
from segwatch.db.codec import load_profile
from segwatch.geo.antimeridian import compute_coverage
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.credentials import Credentials
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import Profile


@dataclass(frozen=True, slots=True)
class ShownScene:
    """A scene, the profile that renders it, and the hosts that its pixels may be read from."""

    scene: Scene
    profile: Profile
    hosts: tuple[str, ...]
    credentials: Credentials = field(default_factory=dict)

    def list_hosts(self) -> frozenset[str]:
        """List the hosts that its pixels are read from."""
        names = self.profile.assets()
        links = (item.assets[name] for item in self.scene.items for name in names if name in item.assets)
        return frozenset(urlsplit(link).netloc for link in links)


def shown_scene(rows: analyst.Rows, hosts: Sequence[str] = ()) -> ShownScene:
    """Make a scene from its rows of ``watch.readable_imagery``."""
    first = rows[0]
    profile = load_profile(first["profile"])
    items = tuple(
        Item(
            id=row["item_id"],
            collection=row["collection"],
            href=row["item_href"],
            acquired_at=row["item_acquired_at"],
            updated_at=row["updated_at"],
            platform=row["platform"],
            relative_orbit=row["relative_orbit"],
            processing_baseline=row["processing_baseline"],
            footprint=wkb.loads(row["geom"], hex=True),
            assets=row["assets"] | row["links"],
            properties=row["properties"],
        )
        for row in rows
    )
    scene = Scene(
        first["collection"],
        first["platform"],
        first["relative_orbit"],
        first["solar_day"],
        first["acquired_at"],
        items,
        compute_coverage([item.footprint for item in items]),
    )
    return ShownScene(scene, profile, hrefs.list_readable_hosts(profile, first["catalog"], hosts))
