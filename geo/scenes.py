"""STAC items -> :class:`Item` -> :class:`Scene`. Pure: no network, no files.

Real catalogs differ in every optional field; what an item lacks is worked out here or named in
:class:`segwatch.geo.errors.BadItem`, so that nothing is dropped without a reason.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import numpy as np
import pystac
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo import products
from segwatch.geo.antimeridian import centre, covered_by, split
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.geojson import read_geometry
from segwatch.geo.clock import ITEM_TOLERANCE, believable, is_ahead
from segwatch.geo.errors import BadItem, TooComplex
from segwatch.geo.storable import shortened, storable
from segwatch.geo.types.scene import MADE, Item, Scene, baseline_number, made_of
from segwatch.geo.types.source import AssetAccess, Profile

_WEB = ("http", "https")
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_PRODUCT_ORBIT = re.compile(r"_R(\d{3})_")
#: Properties of different catalogs that mean the same, the best first.
_BASELINE = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
_PROCESSED = ("s2:generation_time", "processing:datetime")
_TILE = ("grid:code", "s2:mgrs_tile", "landsat:wrs_row", "odc:region_code")
_KEPT = (
    "eo:cloud_cover", "earthsearch:boa_offset_applied", "sentinel:boa_offset_applied", "s2:datastrip_id", *MADE, *_TILE,
)  # fmt: skip
#: Outlines of one tile differ from version to version: half the width, degrees, of a rim that may be left uncovered,
#: and as a share of the size of what is covered.
_RIM, _RIM_SHARE = 0.001, 0.005
#: Longitude, degrees: between Alaska and Chukotka; Samoa and Tonga are west of it, as their dates are.
_DATE_LINE = -169.0
ANY_COLLECTION = "*"
"""A profile's collection where each acquisition is one."""
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What reading a document of any shape can end in."""
#: Of ids, collections, platforms and orbits.
_LONGEST_NAME = 255
#: Of a footprint; catalogs that trace the valid pixels have some thousand.
_MAX_VERTICES = 20_000
#: No image is older; and what is later is a mistake.
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
#: Percent: half of the ground, on average.
_UNKNOWN_CLOUDS = 50.0
#: Catalog, collection, platform, relative orbit and solar day.
_Pass = tuple[str, str, str, str, date]


def parse_item(
    item: Mapping[str, Any] | pystac.Item, profile: Profile, *, base: str = "", catalog: str = ""
) -> Item:
    """Reduce a STAC item to what segwatch uses.

    Parameters
    ----------
    item
        Item as JSON, or a pystac item.
    profile
        Names the collection and the assets that must be there.
    base
        URL the item was found at; stands in for a missing self link and completes a relative one.
    catalog
        Identity of the catalog it was found in.

    Raises
    ------
    BadItem
        With the item's id and what is wrong with it.
    """
    given = item.to_dict(transform_hrefs=False) if isinstance(item, pystac.Item) else dict(item)
    try:
        document = storable(given)
    except RecursionError as error:
        raise BadItem(_name(given.get("id")), "it is nested too deeply") from error
    identity = document.get("id")
    if not isinstance(identity, str) or not identity:
        raise BadItem(_name(identity), "it has no id")
    for name, value in (("id", identity), ("collection", document.get("collection"))):
        if isinstance(value, str) and len(value) > _LONGEST_NAME:
            raise BadItem(_name(identity), f"its {name} has {len(value)} characters")
    properties = document.get("properties")
    if not isinstance(properties, Mapping):
        raise BadItem(identity, "it has no properties")
    collection = document.get("collection") or properties.get("collection") or profile.collection
    if not isinstance(collection, str) or profile.collection not in {ANY_COLLECTION, collection}:
        raise BadItem(identity, f"it is of collection {collection!r}, not {profile.collection!r}")
    try:
        return replace(
            _item(document, identity, properties, profile, base),
            collection=collection,
            catalog=catalog,
            store=profile.store,
        )
    except MALFORMED as error:
        raise BadItem(identity, f"it is malformed: {error}") from error


def _item(
    document: Mapping[str, Any], identity: str, properties: Mapping[str, Any], profile: Profile, base: str
) -> Item:
    href = urljoin(base, _self_link(document))
    acquired_at = _acquired(identity, properties)
    assets = _assets(identity, document.get("assets"), profile, href)
    return Item(
        id=identity,
        collection=profile.collection,
        href=href,
        acquired_at=acquired_at,
        updated_at=moment_of(properties.get("updated")),
        platform=_platform(properties),
        relative_orbit=_orbit(properties),
        processing_baseline=_baseline(identity, properties, profile, acquired_at, (href, *assets.values())),
        footprint=_footprint(identity, document.get("geometry")),
        assets=assets,
        properties={name: properties[name] for name in _KEPT if name in properties},
    )


def _baseline(
    identity: str,
    properties: Mapping[str, Any],
    profile: Profile,
    acquired_at: datetime,
    links: Sequence[str],
) -> str:
    """The processing baseline; where a profile's offset depends on it, it is not guessed."""
    if not profile.offset_from_baseline:
        return _first(properties, _BASELINE)
    found = products.baseline(properties, (identity, *links))
    if offset_unknown(properties, found, acquired_at):
        raise BadItem(
            identity,
            "its processing baseline is unknown, and with it whether the producer's constant is in its values: it has "
            "no s2:processing_baseline, and no product name (s2:product_uri) with an N and four digits. Ask the "
            "catalog for one of them, or use a profile of your own without offset_from_baseline",
        )
    return found


def offset_unknown(properties: Mapping[str, Any], baseline: str, acquired_at: datetime) -> bool:
    """As :func:`segwatch.geo.products.offset_unknown`, for the properties of an item."""
    processed = (moment_of(properties.get(name)) for name in _PROCESSED)
    return products.offset_unknown(properties, baseline, acquired_at, *processed)


def _name(identity: object) -> str:
    """What an item may be called in a report: something that can be stored, and not all of it."""
    known = isinstance(identity, str | int | float) and identity != ""
    return shortened(str(storable(identity)), _LONGEST_NAME) if known else "?"


def when_and_where(document: Mapping[str, Any]) -> tuple[datetime | None, BaseGeometry | None]:
    """Acquisition time and footprint of an item that cannot be used, each as far as it tells them."""
    acquired_at = footprint = None
    given = document.get("properties")
    with suppress(BadItem, *MALFORMED):
        acquired_at = _claimed("", given if isinstance(given, Mapping) else {})
    with suppress(BadItem, *MALFORMED):
        footprint = _footprint("", document.get("geometry"))
    return acquired_at, footprint


def group(items: Sequence[Item], *, all_versions: bool = False) -> list[Scene]:
    """Scenes of the items: one for each catalog, collection, platform, relative orbit and solar day.

    Of several versions of one acquisition the newest is kept, or with ``all_versions`` each. The result depends on the
    set of items only, not on their order or repetition; scenes are in order of acquisition, then key.
    """
    passes: dict[_Pass, list[Item]] = defaultdict(list)
    for item in items:
        day = solar_day(item.acquired_at, centre(item.footprint)[0])
        passes[item.catalog, item.collection, item.platform, item.relative_orbit, day].append(item)
    chosen = _in_order if all_versions else newest
    scenes = [_scene(key, chosen(members)) for key, members in passes.items()]
    return sorted(scenes, key=lambda scene: (scene.acquired_at, scene.key))


def best(scenes: Sequence[Scene], area: BaseGeometry) -> Scene | None:
    """The scene that shows most of the area clearly, by its items' cloud cover; of much the same the newest.

    A tenth of the area more or less makes no difference: an older picture shows an older world.
    """

    # where only some say how cloudy they are, one that does not is no better than it may be
    known = any(cloud_cover(item) is not None for scene in scenes for item in scene.items)
    unsaid = _UNKNOWN_CLOUDS if known else 0.0

    def clear_tenths(scene: Scene) -> int:
        covers = [cloud_cover(item) for item in scene.items]
        clouds = [unsaid if cover is None else cover for cover in covers]
        share = _shared(scene.footprint, area).area / area.area
        return round(10 * share * (1 - sum(clouds) / len(clouds) / 100))

    return max(scenes, key=lambda one: (clear_tenths(one), one.acquired_at, one.key), default=None)


def _shared(footprint: BaseGeometry, area: BaseGeometry) -> BaseGeometry:
    try:
        return operations.intersection(footprint, area)
    except TooComplex:  # nobody can say how much it shows
        return Polygon()


def solar_day(moment: datetime, longitude: float) -> date:
    """Date by the sun at a longitude (degrees), so that one pass never falls on two days at midnight UTC.

    Dates change at 169 degrees west, where there is next to no land, and not at 180, which passes over islands cross.
    """
    east = longitude + 360 if longitude < _DATE_LINE else longitude
    return (moment.astimezone(UTC) + timedelta(hours=east / 15)).date()


def newest(items: Sequence[Item]) -> list[Item]:
    """One version of each piece of ground, sorted by id; together they cover all that any version covers.

    Later processing baseline wins, then later update, then later id. What wins takes the place of other versions of
    its own id, and of items of the same tile and datastrip whose ground it covers. An item that shows further ground
    stays beside it, as the pieces of a tile at the end of a datastrip do.
    """
    ids: set[str] = set()
    kept: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=_version, reverse=True):
        others = kept[_first(item.properties, _TILE)]
        if item.id not in ids and not any(_supersedes(other, item) for other in others):
            ids.add(item.id)
            others.append(item)
    return _in_order([item for some in kept.values() for item in some])


def _in_order(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item.id, _version(item)))


def cloud_cover(item: Item) -> float | None:
    """Percent of the item that its catalog takes for clouds; None where it does not say."""
    cover = item.properties.get("eo:cloud_cover")
    if not isinstance(cover, int | float) or isinstance(cover, bool) or not 0 <= cover <= 100:
        return None
    return float(cover)


def _scene(key: _Pass, items: list[Item]) -> Scene:
    catalog, collection, platform, orbit, day = key
    footprint = covered_by([item.footprint for item in items])
    first = min(item.acquired_at for item in items)
    return Scene(collection, platform, orbit, day, first, tuple(items), footprint, catalog)


def _version(item: Item) -> tuple[Any, ...]:
    """Sorts versions; every field takes part, so that ties do not depend on the order of arrival."""
    long_ago = datetime.min.replace(tzinfo=UTC)
    claimed = item.updated_at or moment_of(made_of(item.properties)) or long_ago
    updated = believable(claimed, datetime.now(UTC), ITEM_TOLERANCE)
    content = (repr(sorted(item.assets.items())), repr(sorted(item.properties.items())), item.footprint.wkb)
    return baseline_number(item.processing_baseline), updated, item.id, item.acquired_at, item.href, *content


def _supersedes(newer: Item, older: Item) -> bool:
    """Whether an item of the same pass takes the place of another one with another id."""
    tile = _first(older.properties, _TILE)
    if not tile or tile != _first(newer.properties, _TILE):
        return False
    # what has none of the assets is no use to whom reads the older one
    if older.assets and not older.assets.keys() & newer.assets.keys():
        return False
    strips = {products.datastrip(one.properties) for one in (newer, older)}
    # some catalogs give the square of the tile in place of what was imaged: then only this tells pieces apart
    if len(strips) > 1 and "" not in strips:
        return False
    return _covers(newer.footprint, older.footprint)


def _covers(newer: BaseGeometry, older: BaseGeometry) -> bool:
    """Whether nothing but a thin rim of the older one is left uncovered."""
    rim = min(_RIM, _RIM_SHARE * math.sqrt(older.area))
    try:
        left = operations.difference(older, newer)
        return bool(left.is_empty or operations.buffer(left, -rim).is_empty)
    except TooComplex:  # both are kept
        return False


def _self_link(document: Mapping[str, Any]) -> str:
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, Mapping) and link.get("rel") == "self" and isinstance(link.get("href"), str):
            return str(link["href"])
    return ""


def _first(properties: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((str(properties[name]) for name in names if properties.get(name) not in (None, "")), "")


def moment_of(value: object) -> datetime | None:
    """The time that a STAC document writes, in UTC; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    # STAC times without a zone do occur; the specification says UTC
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _acquired(identity: str, properties: Mapping[str, Any]) -> datetime:
    """``datetime``, else the middle of ``start_datetime`` and ``end_datetime``."""
    moment = _claimed(identity, properties)
    if is_ahead(moment, datetime.now(UTC), ITEM_TOLERANCE):
        raise BadItem(identity, f"its time {moment.isoformat()} lies in the future")
    return moment


def _claimed(identity: str, properties: Mapping[str, Any]) -> datetime:
    moment = moment_of(properties.get("datetime"))
    if moment is not None:
        return moment
    start, end = (moment_of(properties.get(name)) for name in ("start_datetime", "end_datetime"))
    if start is None or end is None or end < start:
        given = {name: properties.get(name) for name in ("datetime", "start_datetime", "end_datetime")}
        raise BadItem(identity, f"its time is unknown: {given}")
    return start + (end - start) / 2


def _platform(properties: Mapping[str, Any]) -> str:
    """Lower case with hyphens: catalogs write Sentinel-2A, sentinel-2a, LANDSAT_8."""
    name = shortened(_first(properties, ("platform", "eo:platform")), _LONGEST_NAME)
    return re.sub(r"[\s_/]+", "-", name.strip().lower())


def _orbit(properties: Mapping[str, Any]) -> str:
    given = _first(properties, ("sat:relative_orbit", "landsat:wrs_path"))
    if given.isdigit():
        return str(int(given))
    product = _PRODUCT_ORBIT.search(_first(properties, products.PRODUCT))
    return str(int(product.group(1))) if product else shortened(given, _LONGEST_NAME)


def _footprint(identity: str, geometry: object) -> BaseGeometry:
    if not isinstance(geometry, Mapping):
        raise BadItem(identity, "it has no geometry")
    try:
        found = read_geometry(geometry, max_vertices=_MAX_VERTICES)
        operations.check(found)
        if not np.isfinite(shapely.get_coordinates(found)).all():
            raise ValueError("a coordinate is no number")
        if found.bounds[1] < -90 or found.bounds[3] > 90:
            raise ValueError("a latitude is beyond 90 degrees")
        # a longitude beyond 180 degrees becomes a jump, which split() understands
        if found.bounds[0] < -180 or found.bounds[2] > 180:
            found = shapely.transform(found, _wrap)
        whole = _polygons_only(split(found))
    except (TooComplex, ShapelyError, *MALFORMED) as error:
        raise BadItem(identity, f"its geometry is unusable: {error}") from error
    if whole.is_empty or not all(map(math.isfinite, whole.bounds)):
        raise BadItem(identity, f"its geometry is no polygon with an area but {geometry.get('type')}")
    return whole


def _wrap(coords: Any) -> Any:
    coords[:, 0] = (coords[:, 0] + 180) % 360 - 180
    return coords


def _polygons_only(geometry: BaseGeometry) -> BaseGeometry:
    valid = geometry if geometry.is_valid else operations.make_valid(geometry)
    parts = [part for part in _parts(valid) if part.area > 0]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _parts(geometry: BaseGeometry) -> Iterator[shapely.Polygon]:
    if isinstance(geometry, shapely.Polygon):
        yield geometry
    for part in getattr(geometry, "geoms", ()):
        yield from _parts(part)


def _assets(identity: str, assets: object, profile: Profile, href: str) -> dict[str, str]:
    present = assets if isinstance(assets, Mapping) else {}
    found = {}
    for name in profile.assets():
        if name not in present:
            has = ", ".join(sorted(present)) or "none"
            raise BadItem(
                identity, f"asset {name!r} is missing; it has {has}. Does profile {profile.name} fit?"
            )
        found[name] = _asset_href(identity, name, present[name], href, profile.access)
    return found


def _asset_href(identity: str, name: str, asset: object, base: str, access: AssetAccess | None) -> str:
    """The asset's http(s) link: its own, else an alternate one; with s3 as ``access`` that to a bucket first."""
    links = [link for link in _links(asset) if link]
    if not links:
        raise BadItem(identity, f"asset {name!r} has no href")
    absolute = [urljoin(base, link) if not urlsplit(link).scheme else link for link in links]
    if access is not None and access.method == "s3":
        absolute = [*filter(None, (_bucket_address(link, access) for link in absolute)), *absolute]
    for link in absolute:
        if urlsplit(link).scheme in _WEB:
            return link
    if not urlsplit(absolute[0]).scheme:
        raise BadItem(identity, f"asset {name!r} has a relative href and the item no self link")
    raise BadItem(identity, f"asset {name!r} has no http or https link but {_without_query(absolute[0])!r}")


def _without_query(link: str) -> str:
    """A link without what may be a secret: user information, query and fragment."""
    scheme, mark, rest = link.partition("://")
    bare = re.split(r"[?#]", rest, maxsplit=1)[0].rpartition("@")[2] if mark else re.split(r"[?#]", scheme)[0]
    return f"{scheme}{mark}{bare}"[:200] if mark else bare[:200]


def _links(asset: object) -> Iterator[str]:
    if isinstance(asset, Mapping):
        if isinstance(asset.get("href"), str):
            yield asset["href"].strip()
        alternate = asset.get("alternate")
        for other in alternate.values() if isinstance(alternate, Mapping) else ():
            if isinstance(other, Mapping) and isinstance(other.get("href"), str):
                yield other["href"].strip()


def _bucket_address(link: str, access: AssetAccess) -> str | None:
    """The https address of an object of a bucket; None for any other link."""
    scheme, _, rest = link.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not _BUCKET.match(bucket) or not key:
        return None
    path = quote(key, safe="/~")
    if access.endpoint:
        return f"{access.endpoint}/{bucket}/{path}"
    return f"https://{bucket}.s3.{access.region}.amazonaws.com/{path}"
