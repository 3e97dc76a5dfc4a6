"""A static STAC catalog of a watch: a collection, one item per observation with its detections, and reviewed truth.

The files refer to each other by relative links, so that the folder can be moved, served by any web server and crawled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import shapely
from sqlalchemy import Connection, Engine

from segwatch.db import analyst
from segwatch.flows.errors import ConfigError
from segwatch.flows.export import gdal, stac_items
from segwatch.flows.export.batches import Rows, WatchedRows, make_reader
from segwatch.flows.export.places import MARKER, check_target, write_whole
from segwatch.flows.export.schema import DETECTIONS, REVIEWED, Layer, make_schema
from segwatch.flows.export.stac_items import GEOJSON, JSON, Addresses, Document, ModelUse, Summary
from segwatch.flows.export.tables import Exported, Request, check_request, describe
from segwatch.geo.antimeridian import Bounds, compute_bounds, union_bounds

_DETECTIONS = "detections"
#: As seen from an item, in the folder ``items`` of its collection.
_ADDRESSES = Addresses(
    root="../../catalog.json",
    collection="../collection.json",
    item="./{}.json".format,
    detections=f"../{_DETECTIONS}/{{}}.geojson".format,
    reviewed=f"../{stac_items.REVIEWED}.geojson",
)


@dataclass(slots=True)
class _Extent:
    """Bounds and period of the items so far."""

    boxes: list[Bounds] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    models: set[str] = field(default_factory=set)

    @property
    def bounds(self) -> Bounds:
        return union_bounds(self.boxes)


def export_catalog(engine: Engine, request: Request, target: Path, *, force: bool = False) -> Exported:
    """Export a static catalog; the folder appears whole or not at all.

    Raises
    ------
    ConfigError
        The request asks for changes or a delta feed, or has no observation, or the target cannot be written.
    segwatch.db.errors.NotFound
        No watch has this name.
    """
    check_request(request)
    if request.changes or request.since is not None:
        raise ConfigError(
            "a catalog holds observations; leave out --changes and --since, or choose another format"
        )
    check_target(target, force=force)
    with analyst.open_snapshot(engine) as conn:
        analyst.read_position(conn, request.watch)  # refuses an unknown watch
        rows = analyst.list_observations(conn, request.selection)
        if not rows:
            asked = (request.at, request.known_at, request.bounds)
            why = "fits --at, --known-at and --bbox" if any(asked) else "is published yet"
            raise ConfigError(
                f"no observation of {request.watch} {why}; segwatch coverage {request.watch} lists its scenes"
            )
        with write_whole(target) as folder:
            _write_catalog(conn, request, rows, folder)
    return Exported(target, len(rows), None)


def _write_catalog(conn: Connection, request: Request, rows: analyst.Rows, folder: Path) -> None:
    collection = stac_items.name_collection(request.watch)
    below = folder / collection
    (below / "items").mkdir(parents=True)
    (below / _DETECTIONS).mkdir()
    extent = _Extent()
    names = []
    for row in rows:
        item = stac_items.make_item(row, collection, _ADDRESSES)
        parts = analyst.iter_detections(conn, row["observation_id"], request.selection)
        write_layer(parts, DETECTIONS, below / _DETECTIONS / f"{item['id']}.geojson")
        names.append(_write_item(below, item))
        footprint: Any = shapely.from_wkb(row["footprint"])
        extent.boxes.append(compute_bounds(footprint))
        extent.times.append(row["acquired_at"])
        extent.models.add(row["model"])
    for model in sorted(extent.models):
        use = ModelUse(model, extent.bounds, min(extent.times), max(extent.times))
        names.append(_write_item(below, stac_items.make_model_item(use, collection, _ADDRESSES)))
    names += _write_reviewed(conn, request, below, collection)
    latest = rows[-1]
    summary = Summary(
        collection, latest["instruction"], latest["targets"], extent.bounds, min(extent.times), max(extent.times),
        sorted(extent.models), latest["model"],
    )  # fmt: skip
    _write(below / "collection.json", stac_items.make_collection(summary, _link_items(names)))
    _write(folder / "catalog.json", _make_root(request.watch, collection))
    _write(folder / MARKER, describe(request, None))


def _write_reviewed(conn: Connection, request: Request, below: Path, collection: str) -> list[str]:
    """Write the reviewed objects and their item; returns its name, or nothing if nobody reviewed."""
    found = [part for part in analyst.iter_reviewed(conn, request.selection) if part]
    if not found:
        return []
    write_layer(found, REVIEWED, below / f"{stac_items.REVIEWED}.geojson")
    rows = [dict(zip(REVIEWED.columns, row, strict=True)) for part in found for row in part]
    return [_write_item(below, stac_items.make_reviewed_item(rows, collection, _ADDRESSES))]


def _write_item(below: Path, item: Document) -> str:
    name = str(item["id"])
    _write(below / "items" / f"{name}.json", item)
    return name


def _link_items(names: Iterable[str]) -> list[Document]:
    up = "../catalog.json"
    return [
        {"rel": "root", "href": up, "type": JSON},
        {"rel": "parent", "href": up, "type": JSON},
        *({"rel": "item", "href": f"./items/{one}.json", "type": GEOJSON} for one in names),
    ]


def _make_root(watch: str, collection: str) -> Document:
    return {
        "type": "Catalog",
        "stac_version": stac_items.STAC_VERSION,
        "id": f"segwatch-{collection}",
        "title": f"segwatch: {watch}",
        "description": f"What the watch {watch} observed and found, exported by segwatch.",
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": JSON},
            {"rel": "child", "href": f"./{collection}/collection.json", "type": JSON},
        ],
    }


def write_layer(parts: Iterable[Rows], layer: Layer, target: Path) -> None:
    """Write rows of a layer as GeoJSON."""
    rows = WatchedRows(parts)
    with rows.keep_error():
        gdal.write_layer(make_reader(make_schema(layer), rows), target, gdal.GEOJSON, {}, layer=layer.name)


def _write(target: Path, document: Mapping[str, Any]) -> None:
    target.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
