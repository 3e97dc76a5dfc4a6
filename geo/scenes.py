"""Group items into scenes and choose among versions and scenes. Pure: no network, no files."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo import sentinel2
from segwatch.geo.antimeridian import compute_centre, compute_coverage
from segwatch.geo.bounded import operations
from segwatch.geo.clock import ITEM_TOLERANCE, clamp_to_receipt
from segwatch.geo.errors import TooComplex
from segwatch.geo.items import TILE_PROPERTIES, first_property, get_cloud_cover, parse_time
from segwatch.geo.types.scene import Item, Scene, get_production_time, to_baseline_key

#: Footprints of one tile differ slightly between versions. A rim of this half width (degrees), or of this share of the
#: footprint's size, may stay uncovered by the newer version.
_RIM_DEGREES, _RIM_SHARE = 0.001, 0.005
#: Longitude in degrees where solar days change: between Alaska and Chukotka, east of Samoa and Tonga.
_DATE_LINE = -169.0
#: Cloud cover in percent assumed for an item without one: the global average.
_UNKNOWN_CLOUD_COVER = 50.0
#: Catalog, collection, platform, relative orbit and solar day.
_PassKey = tuple[str, str, str, str, date]


def group_scenes(items: Sequence[Item], *, all_versions: bool = False) -> list[Scene]:
    """Group items into scenes: one per catalog, collection, platform, relative orbit and solar day.

    The result depends only on the set of items, not on their order or repetition.

    Parameters
    ----------
    all_versions
        Keep every version of an acquisition; otherwise only the newest, see :func:`select_newest`.

    Returns
    -------
    list of Scene
        Sorted by acquisition time, then key.
    """
    passes: dict[_PassKey, list[Item]] = defaultdict(list)
    for item in items:
        day = compute_solar_day(item.acquired_at, compute_centre(item.footprint)[0])
        passes[item.catalog, item.collection, item.platform, item.relative_orbit, day].append(item)
    choose = _sort_by_id if all_versions else select_newest
    scenes = [_build_scene(key, choose(members)) for key, members in passes.items()]
    return sorted(scenes, key=lambda scene: (scene.acquired_at, scene.key))


def select_best_scene(scenes: Sequence[Scene], area: BaseGeometry) -> Scene | None:
    """Choose the scene with the largest clear share of the area, estimated from the items' cloud cover.

    Shares are compared in tenths of the area; among equal ones the newest scene wins.

    Parameters
    ----------
    area
        EPSG:4326, with a positive area.

    Returns
    -------
    Scene or None
        None where ``scenes`` is empty.
    """
    # if only some items report a cloud cover, the others must not win for lack of one
    is_reported = any(get_cloud_cover(item) is not None for scene in scenes for item in scene.items)
    default = _UNKNOWN_CLOUD_COVER if is_reported else 0.0

    def clear_tenths(scene: Scene) -> int:
        return round(10 * estimate_clear_share(scene, area, default))

    return max(scenes, key=lambda scene: (clear_tenths(scene), scene.acquired_at, scene.key), default=None)


def estimate_clear_share(scene: Scene, area: BaseGeometry, unknown_cover: float = 0.0) -> float:
    """Estimate the share of an area that a scene shows clearly, 0 to 1, from its items' cloud cover.

    Parameters
    ----------
    area
        EPSG:4326, with a positive area.
    unknown_cover
        Cloud cover of items that report none, percent.
    """
    covers = [get_cloud_cover(item) for item in scene.items]
    clouds = [unknown_cover if cover is None else cover for cover in covers]
    share = _intersection(scene.footprint, area).area / area.area
    return float(share * (1 - sum(clouds) / len(clouds) / 100))


def _intersection(footprint: BaseGeometry, area: BaseGeometry) -> BaseGeometry:
    """Intersection of both; empty where the footprint is too complex to compute it."""
    try:
        return operations.intersection(footprint, area)
    except TooComplex:
        return Polygon()


def compute_solar_day(moment: datetime, longitude: float) -> date:
    """Compute the date by mean solar time at a longitude (degrees), so that no pass is cut at midnight UTC.

    The date changes at 169 degrees west, where there is hardly any land; at 180 degrees, passes over islands would be
    split.
    """
    east = longitude + 360 if longitude < _DATE_LINE else longitude
    return (moment.astimezone(UTC) + timedelta(hours=east / 15)).date()


def select_newest(items: Sequence[Item]) -> list[Item]:
    """Keep the newest version of every acquisition; the result covers all that the items cover.

    The later processing baseline wins, then the later update, then the greater id. The winner replaces versions of its
    own id, and items of the same tile and datastrip whose footprint it covers. An item that covers additional area
    stays, such as the second part of a tile at the end of a datastrip.

    Returns
    -------
    list of Item
        Sorted by id.
    """
    ids: set[str] = set()
    kept: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=_version_key, reverse=True):
        others = kept[first_property(item.properties, TILE_PROPERTIES)]
        if item.id not in ids and not any(_supersedes(other, item) for other in others):
            ids.add(item.id)
            others.append(item)
    return _sort_by_id([item for some in kept.values() for item in some])


def _sort_by_id(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item.id, _version_key(item)))


def _build_scene(key: _PassKey, items: list[Item]) -> Scene:
    catalog, collection, platform, orbit, day = key
    footprint = compute_coverage([item.footprint for item in items])
    first = min(item.acquired_at for item in items)
    return Scene(collection, platform, orbit, day, first, tuple(items), footprint, catalog)


def _version_key(item: Item) -> tuple[Any, ...]:
    """Sort key of versions. Every field takes part, so that ties do not depend on the order of arrival."""
    long_ago = datetime.min.replace(tzinfo=UTC)
    claimed = item.updated_at or parse_time(get_production_time(item.properties)) or long_ago
    updated = clamp_to_receipt(claimed, datetime.now(UTC), ITEM_TOLERANCE)
    content = (repr(sorted(item.assets.items())), repr(sorted(item.properties.items())), item.footprint.wkb)
    return to_baseline_key(item.processing_baseline), updated, item.id, item.acquired_at, item.href, *content


def _supersedes(newer: Item, older: Item) -> bool:
    """Whether an item replaces another one of the same pass that has a different id."""
    tile = first_property(older.properties, TILE_PROPERTIES)
    if not tile or tile != first_property(newer.properties, TILE_PROPERTIES):
        return False
    # without common assets, the newer item cannot be read in place of the older one
    if older.assets and not older.assets.keys() & newer.assets.keys():
        return False
    datastrips = {sentinel2.parse_datastrip(item.properties) for item in (newer, older)}
    # some catalogs give the whole tile as footprint; then only the datastrip tells two parts of a tile apart
    if len(datastrips) > 1 and "" not in datastrips:
        return False
    return _covers(newer.footprint, older.footprint)


def _covers(newer: BaseGeometry, older: BaseGeometry) -> bool:
    """Whether the newer footprint covers all of the older one but a thin rim."""
    rim = min(_RIM_DEGREES, _RIM_SHARE * math.sqrt(older.area))
    try:
        left = operations.difference(older, newer)
        return bool(left.is_empty or operations.buffer(left, -rim).is_empty)
    except TooComplex:  # keep both
        return False
