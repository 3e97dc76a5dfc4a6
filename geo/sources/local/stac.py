"""Write the STAC catalog of a source: one item for each file, by rio-stac, and a collection."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pystac
import rasterio
from affine import Affine
from rasterio.io import DatasetReader
from rio_stac import create_stac_item
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_bounds, compute_coverage
from segwatch.geo.items import parse_time
from segwatch.geo.sources.local.dates import FoundDate
from segwatch.geo.sources.local.inspection import FileFacts
from segwatch.geo.sources.local.profile_file import ASSET
from segwatch.geo.sources.local.registry import PATH, ROOT, STAMP
from segwatch.geo.sources.local.scanning import FoundFile

#: Property of an item: the file that it was made from.
FILE = "segwatch:file"
_TIFF = str(pystac.MediaType.GEOTIFF)


def make_item(
    dataset: DatasetReader,
    file: FoundFile,
    facts: FileFacts,
    acquired: FoundDate,
    item_id: str,
    collection: str,
    now: datetime,
    read: FoundFile | None,
) -> dict[str, Any]:
    """Make the item of a file.

    Parameters
    ----------
    now
        Time at which this version of the file was registered: its ``updated``.
    read
        The converted file that is read in its place; None = the file itself is read.
    """
    properties: dict[str, Any] = {
        FILE: file.key,
        STAMP: file.version,
        "updated": _format(now),
        "gsd": facts.gsd_m,
    }
    if acquired.start != acquired.end:
        properties |= {"start_datetime": _format(acquired.start), "end_datetime": _format(acquired.end)}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        # its own guess of the date, which is not used
        warnings.simplefilter("ignore")
        item = create_stac_item(
            dataset,
            input_datetime=acquired.start if acquired.start == acquired.end else None,
            id=item_id,
            collection=collection,
            collection_url="../collection.json",
            properties=properties,
            asset_name=ASSET,
            asset_href=file.path.as_uri(),
            asset_roles=["data"],
            with_proj=True,
            geom_densify_pts=21,
        )
    # rio-stac takes bounding boxes: too large where the file is rotated, wrong across the antimeridian
    item.geometry = mapping(facts.footprint)
    item.bbox = list(compute_bounds(facts.footprint))
    if facts.is_rotated:
        _correct_projection(item, facts)
    asset = item.assets[ASSET]
    asset.extra_fields |= _locate(file)
    if read is not None:
        item.assets["original"] = asset
        asset.roles = ["source"]
        asset.extra_fields = {}
        item.assets[ASSET] = pystac.Asset(
            read.path.as_uri(), "converted for reading", None, _TIFF, ["data"], _locate(read)
        )
    _add_parts(item, file)
    document: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    for rel in ("root", "parent"):
        document["links"].append({"rel": rel, "href": "../collection.json", "type": "application/json"})
    return document


def _locate(file: FoundFile) -> dict[str, Any]:
    return {ROOT: file.root.label, PATH: file.below, STAMP: file.stamp}


def _add_parts(item: pystac.Item, file: FoundFile) -> None:
    """Add the other files of an image; where its bands are files of their own, they take the place of the image."""
    if file.product:
        del item.assets[ASSET]
    for name, one in file.parts:
        item.assets[name] = pystac.Asset(
            one.path.as_uri(), one.path.name, None, _TIFF, ["data"], _locate(one)
        )


def _correct_projection(item: pystac.Item, facts: FileFacts) -> None:
    corners = [
        _apply(facts.transform, *one)
        for one in ((0, 0), (facts.width, 0), (facts.width, facts.height), (0, facts.height), (0, 0))
    ]
    xs, ys = zip(*corners, strict=True)
    item.properties["proj:bbox"] = [min(xs), min(ys), max(xs), max(ys)]
    item.properties["proj:geometry"] = {"type": "Polygon", "coordinates": [[list(one) for one in corners]]}


def _apply(transform: Affine, col: float, row: float) -> tuple[float, float]:
    return (
        transform.a * col + transform.b * row + transform.c,
        transform.d * col + transform.e * row + transform.f,
    )


def make_collection(name: str, items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Make the collection of a source's items (by id), with links relative to it."""
    footprint = compute_coverage([shape(one["geometry"]) for one in items.values()])
    times = [moment for one in items.values() for moment in _list_times(one["properties"])]
    collection = pystac.Collection(
        id=name,
        description=f"Local files, registered by segwatch as source {name}",
        extent=pystac.Extent(
            pystac.SpatialExtent([list(compute_bounds(footprint))]),
            pystac.TemporalExtent([[min(times), max(times)]]),
        ),
        license="other",
    )
    document = collection.to_dict(include_self_link=False, transform_hrefs=False)
    document["links"] = [
        {"rel": "root", "href": "./collection.json", "type": "application/json"},
        *(
            {"rel": "item", "href": f"./items/{item_id}.json", "type": "application/geo+json"}
            for item_id in sorted(items)
        ),
    ]
    return document


def compute_ground(items: Iterable[Mapping[str, Any]]) -> BaseGeometry:
    """Compute the union of the footprints of some items, EPSG:4326."""
    return compute_coverage([shape(one["geometry"]) for one in items])


def _list_times(properties: Mapping[str, Any]) -> list[datetime]:
    given = (properties.get(name) for name in ("datetime", "start_datetime", "end_datetime"))
    return [moment for one in given if (moment := parse_time(one)) is not None]


def _format(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
