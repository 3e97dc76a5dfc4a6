"""Parse STAC items into :class:`segwatch.geo.types.scene.Item`. Pure: no network, no files.

Catalogs differ in every optional field. A missing value is derived from other fields where possible; otherwise
:class:`segwatch.geo.errors.BadItem` names it, so that no item is dropped without a reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import numpy as np
import pystac
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo import local_addresses as addresses
from segwatch.geo import sentinel2
from segwatch.geo.antimeridian import split_at_antimeridian
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.geojson import read_geometry
from segwatch.geo.clock import ITEM_TOLERANCE, is_too_far_ahead
from segwatch.geo.errors import BadItem, TooComplex
from segwatch.geo.text.storable import shorten, to_storable
from segwatch.geo.types.scene import PRODUCTION_TIME_PROPERTIES, Item
from segwatch.geo.types.source import AssetAccess, Profile

_WEB_SCHEMES = ("http", "https")
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_PRODUCT_ORBIT = re.compile(r"_R(\d{3})_")
#: Properties with the same meaning in different catalogs, in order of preference.
_BASELINE = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
_PROCESSED = ("s2:generation_time", "processing:datetime")
TILE_PROPERTIES = ("grid:code", "s2:mgrs_tile", "landsat:wrs_row", "odc:region_code")
"""Properties that name the tile of an item, in order of preference."""
_KEPT_PROPERTIES = (
    *("eo:cloud_cover", "earthsearch:boa_offset_applied", "sentinel:boa_offset_applied", "s2:datastrip_id"),
    *PRODUCTION_TIME_PROPERTIES,
    *TILE_PROPERTIES,
)
ANY_COLLECTION = "*"
"""Collection of a profile for catalogs with one collection per acquisition."""
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""Exceptions that reading a document of unexpected shape may raise."""
#: Characters of ids, collections, platforms and orbits.
_MAX_NAME_CHARS = 255
#: Vertices of a footprint. Catalogs that trace the valid pixels use a few thousand.
_MAX_VERTICES = 20_000
#: No satellite or aerial image is older; later years are typing errors.
_FIRST_YEAR, _LAST_YEAR = 1900, 2200


def parse_item(
    item: Mapping[str, Any] | pystac.Item, profile: Profile, *, base: str = "", catalog: str = ""
) -> Item:
    """Reduce a STAC item to the fields that segwatch uses.

    Parameters
    ----------
    item
        Item as JSON, or a pystac item.
    profile
        Gives the expected collection and the required assets.
    base
        URL where the item was found. Replaces a missing self link and completes a relative one.
    catalog
        Identity of the catalog, see :mod:`segwatch.geo.identity`.

    Returns
    -------
    Item
        Times in UTC; the footprint is a valid (multi)polygon in EPSG:4326 (longitude, latitude), split at 180 degrees.

    Raises
    ------
    BadItem
        The item cannot be used; carries its id and the reason.
    """
    given = item.to_dict(transform_hrefs=False) if isinstance(item, pystac.Item) else dict(item)
    try:
        document = to_storable(given)
    except RecursionError as error:
        raise BadItem(_display_id(given.get("id")), "it is nested too deeply") from error
    item_id = document.get("id")
    if not isinstance(item_id, str) or not item_id:
        raise BadItem(_display_id(item_id), "it has no id")
    for name, value in (("id", item_id), ("collection", document.get("collection"))):
        if isinstance(value, str) and len(value) > _MAX_NAME_CHARS:
            raise BadItem(_display_id(item_id), f"its {name} has {len(value)} characters")
    properties = document.get("properties")
    if not isinstance(properties, Mapping):
        raise BadItem(item_id, "it has no properties")
    collection = document.get("collection") or properties.get("collection") or profile.collection
    if not isinstance(collection, str) or profile.collection not in {ANY_COLLECTION, collection}:
        raise BadItem(item_id, f"it belongs to collection {collection!r}, not {profile.collection!r}")
    try:
        return replace(
            _build_item(document, item_id, properties, profile, base),
            collection=collection,
            catalog=catalog,
            store=profile.store,
        )
    except MALFORMED as error:
        raise BadItem(item_id, f"it is malformed: {error}") from error


def _build_item(
    document: Mapping[str, Any], item_id: str, properties: Mapping[str, Any], profile: Profile, base: str
) -> Item:
    # only the catalog of a registered source is at such an address; in other catalogs its items' links are text
    local = addresses.is_local(base)
    href = _self_link(document) if local else urljoin(base, _self_link(document))
    acquired_at = _acquisition_time(item_id, properties)
    schemes = (addresses.SCHEME,) if local else _WEB_SCHEMES
    assets = _asset_hrefs(item_id, document.get("assets"), profile, href, schemes)
    return Item(
        id=item_id,
        collection=profile.collection,
        href=href,
        acquired_at=acquired_at,
        updated_at=parse_time(properties.get("updated")),
        platform=_platform(properties),
        relative_orbit=_relative_orbit(properties),
        processing_baseline=_processing_baseline(
            item_id, properties, profile, acquired_at, (href, *assets.values())
        ),
        footprint=_footprint(item_id, document.get("geometry")),
        assets=assets,
        properties={name: properties[name] for name in _KEPT_PROPERTIES if name in properties},
    )


def find_item_href(document: Mapping[str, Any], base: str) -> str:
    """Find the web address of an item: its self link, relative to ``base``, else ``base``."""
    with suppress(*MALFORMED):
        href = urljoin(base, str(to_storable(_self_link(document))))
        if urlsplit(href).scheme in _WEB_SCHEMES:
            return href
    return base


def parse_time_and_footprint(
    document: Mapping[str, Any],
) -> tuple[datetime | None, BaseGeometry | None]:
    """Acquisition time (UTC) and footprint (EPSG:4326) of an item that was rejected; None for each that is unusable."""
    acquired_at = footprint = None
    given = document.get("properties")
    with suppress(BadItem, *MALFORMED):
        acquired_at = _declared_time("", given if isinstance(given, Mapping) else {})
    with suppress(BadItem, *MALFORMED):
        footprint = _footprint("", document.get("geometry"))
    return acquired_at, footprint


def parse_time(value: object) -> datetime | None:
    """Parse a time of a STAC document to UTC; None where it is invalid or before 1900 or after 2200.

    A time without a zone is read as UTC: the STAC specification requires UTC, and some catalogs omit the zone.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def get_cloud_cover(item: Item) -> float | None:
    """Get ``eo:cloud_cover`` of an item in percent (0 to 100); None where it is missing or invalid."""
    cover = item.properties.get("eo:cloud_cover")
    if not isinstance(cover, int | float) or isinstance(cover, bool) or not 0 <= cover <= 100:
        return None
    return float(cover)


def is_offset_unknown(properties: Mapping[str, Any], baseline: str, acquired_at: datetime) -> bool:
    """Whether the Sentinel-2 offset of an item is unknown, see :func:`segwatch.geo.sentinel2.is_offset_unknown`."""
    processed = (parse_time(properties.get(name)) for name in _PROCESSED)
    return sentinel2.is_offset_unknown(properties, baseline, acquired_at, *processed)


def first_property(properties: Mapping[str, Any], names: Sequence[str]) -> str:
    """Get the first property of these names that has a value, as text; empty where none has."""
    return next((str(properties[name]) for name in names if properties.get(name) not in (None, "")), "")


def _display_id(item_id: object) -> str:
    """The id as reports show it: storable and of limited length, ``?`` where it is missing."""
    has_id = isinstance(item_id, str | int | float) and item_id != ""
    return shorten(str(to_storable(item_id)), _MAX_NAME_CHARS) if has_id else "?"


def _processing_baseline(
    item_id: str,
    properties: Mapping[str, Any],
    profile: Profile,
    acquired_at: datetime,
    links: Sequence[str],
) -> str:
    """The processing baseline. An item is refused if the profile's offset depends on it and it is unknown."""
    if not profile.offset_from_baseline:
        return first_property(properties, _BASELINE)
    found = sentinel2.parse_baseline(properties, (item_id, *links))
    if is_offset_unknown(properties, found, acquired_at):
        raise BadItem(
            item_id,
            "its processing baseline is unknown, so it is unknown whether the producer's offset is in its values: it "
            "has no s2:processing_baseline and no product name (s2:product_uri) with an N and four digits. Ask the "
            "catalog's operator to add one of them, or use your own profile without offset_from_baseline",
        )
    return found


def _self_link(document: Mapping[str, Any]) -> str:
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, Mapping) and link.get("rel") == "self" and isinstance(link.get("href"), str):
            return str(link["href"])
    return ""


def _acquisition_time(item_id: str, properties: Mapping[str, Any]) -> datetime:
    moment = _declared_time(item_id, properties)
    if is_too_far_ahead(moment, datetime.now(UTC), ITEM_TOLERANCE):
        raise BadItem(item_id, f"its acquisition time {moment.isoformat()} is in the future")
    return moment


def _declared_time(item_id: str, properties: Mapping[str, Any]) -> datetime:
    """``datetime``, else the middle of ``start_datetime`` and ``end_datetime``."""
    moment = parse_time(properties.get("datetime"))
    if moment is not None:
        return moment
    start, end = (parse_time(properties.get(name)) for name in ("start_datetime", "end_datetime"))
    if start is None or end is None or end < start:
        given = {name: properties.get(name) for name in ("datetime", "start_datetime", "end_datetime")}
        raise BadItem(item_id, f"its acquisition time is missing or invalid: {given}")
    return start + (end - start) / 2


def _platform(properties: Mapping[str, Any]) -> str:
    """Lower case with hyphens: catalogs write Sentinel-2A, sentinel-2a, LANDSAT_8."""
    name = shorten(first_property(properties, ("platform", "eo:platform")), _MAX_NAME_CHARS)
    return re.sub(r"[\s_/]+", "-", name.strip().lower())


def _relative_orbit(properties: Mapping[str, Any]) -> str:
    given = first_property(properties, ("sat:relative_orbit", "landsat:wrs_path"))
    if given.isdigit():
        return str(int(given))
    product = _PRODUCT_ORBIT.search(first_property(properties, sentinel2.PRODUCT_PROPERTIES))
    return str(int(product.group(1))) if product else shorten(given, _MAX_NAME_CHARS)


def _footprint(item_id: str, geometry: object) -> BaseGeometry:
    if not isinstance(geometry, Mapping):
        raise BadItem(item_id, "it has no geometry")
    try:
        found = read_geometry(geometry, max_vertices=_MAX_VERTICES)
        operations.check(found)
        if not np.isfinite(shapely.get_coordinates(found)).all():
            raise ValueError("a coordinate is not a finite number")
        if found.bounds[1] < -90 or found.bounds[3] > 90:
            raise ValueError("a latitude is beyond 90 degrees")
        # wrapping turns a longitude beyond 180 degrees into a jump, which split() understands
        if found.bounds[0] < -180 or found.bounds[2] > 180:
            found = shapely.transform(found, _wrap_longitudes)
        whole = _to_polygons(split_at_antimeridian(found))
    except (TooComplex, ShapelyError, *MALFORMED) as error:
        raise BadItem(item_id, f"its geometry is invalid: {error}") from error
    if whole.is_empty or not all(map(math.isfinite, whole.bounds)):
        raise BadItem(item_id, f"its geometry is a {geometry.get('type')} without area; a polygon is needed")
    return whole


def _wrap_longitudes(coords: Any) -> Any:
    coords[:, 0] = (coords[:, 0] + 180) % 360 - 180
    return coords


def _to_polygons(geometry: BaseGeometry) -> BaseGeometry:
    valid = geometry if geometry.is_valid else operations.make_valid(geometry)
    parts = [part for part in _polygons(valid) if part.area > 0]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _polygons(geometry: BaseGeometry) -> Iterator[shapely.Polygon]:
    if isinstance(geometry, shapely.Polygon):
        yield geometry
    for part in getattr(geometry, "geoms", ()):
        yield from _polygons(part)


def _asset_hrefs(
    item_id: str, assets: object, profile: Profile, href: str, schemes: Sequence[str]
) -> dict[str, str]:
    present = assets if isinstance(assets, Mapping) else {}
    found = {}
    for name in profile.assets():
        if name not in present:
            names = ", ".join(sorted(present)) or "none"
            reason = f"asset {name!r} is missing (present: {names}); check that profile {profile.name} fits"
            raise BadItem(item_id, reason)
        found[name] = _asset_href(item_id, name, present[name], href, profile.access, schemes)
    for name in profile.optional_assets():
        with suppress(BadItem):  # without it, there is no spectral evidence
            found[name] = _asset_href(item_id, name, present.get(name), href, profile.access, schemes)
    return found


def _asset_href(
    item_id: str, name: str, asset: object, base: str, access: AssetAccess | None, schemes: Sequence[str]
) -> str:
    """The href of an asset with one of these schemes: its own, else an alternate one (alternate-assets extension).

    With access method ``s3`` an ``s3://`` href is preferred, rewritten to https.
    """
    links = [link for link in _links(asset) if link]
    if not links:
        raise BadItem(item_id, f"asset {name!r} has no href")
    absolute = [urljoin(base, link) if not urlsplit(link).scheme else link for link in links]
    if access is not None and access.method == "s3":
        absolute = [*filter(None, (_s3_to_https(link, access) for link in absolute)), *absolute]
    for link in absolute:
        if urlsplit(link).scheme in schemes:
            return link
    if not urlsplit(absolute[0]).scheme:
        raise BadItem(item_id, f"asset {name!r} has a relative href and the item has no self link")
    raise BadItem(item_id, f"asset {name!r} has no http or https href, only {_without_query(absolute[0])!r}")


def _without_query(link: str) -> str:
    """A link without the parts that may hold secrets: user information, query and fragment."""
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


def _s3_to_https(link: str, access: AssetAccess) -> str | None:
    """The https URL of an ``s3://bucket/key`` link; None for any other link."""
    scheme, _, rest = link.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not _BUCKET.match(bucket) or not key:
        return None
    path = quote(key, safe="/~")
    if access.endpoint:
        return f"{access.endpoint}/{bucket}/{path}"
    return f"https://{bucket}.s3.{access.region}.amazonaws.com/{path}"
