"""A static STAC catalog of a watch: a collection, one item per observation with its detections, and reviewed truth.

Items name what they come from: links ``derived_from`` lead to the source items and to an item of the model (extension
mlm), and extension processing says what made them. Reviewed objects are an item of extension label. The files refer to
each other by relative links, so that the folder can be moved, served by any web server and crawled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Engine

from segwatch.db import analyst
from segwatch.flows.errors import ConfigError
from segwatch.flows.export import gdal
from segwatch.flows.export.batches import Rows, WatchedRows, make_reader
from segwatch.flows.export.places import MARKER, check_target, write_whole
from segwatch.flows.export.schema import DETECTIONS, REVIEWED, Layer, make_schema
from segwatch.flows.export.tables import Exported, Request, check_request, describe
from segwatch.geo.antimeridian import compute_bounds, to_box, union_bounds
from segwatch.geo.identity import is_demonstration

STAC_VERSION = "1.1.0"
PROCESSING = "https://stac-extensions.github.io/processing/v1.1.0/schema.json"
MLM = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
LABEL = "https://stac-extensions.github.io/label/v1.0.0/schema.json"
_JSON, _GEOJSON = "application/json", "application/geo+json"
_DETECTIONS = "detections"
#: Architectures by the beginning of a model's name; others are called by their names.
_ARCHITECTURES = {"segearth-r2": "SegEarth-R2", "sam3": "SAM 3"}

Document = dict[str, Any]


@dataclass(slots=True)
class _Extent:
    """Bounds and period of the items so far."""

    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    models: set[str] = field(default_factory=set)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
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
    collection = _make_name(request.watch)
    below = folder / collection
    (below / "items").mkdir(parents=True)
    (below / _DETECTIONS).mkdir()
    extent = _Extent()
    names = []
    for row in rows:
        item = _make_item(row, collection)
        parts = analyst.iter_detections(conn, row["observation_id"], request.selection)
        _write_layer(parts, DETECTIONS, below / _DETECTIONS / f"{item['id']}.geojson")
        _write(below / "items" / f"{item['id']}.json", item)
        names.append(item["id"])
        footprint: Any = shapely.from_wkb(row["footprint"])
        extent.boxes.append(compute_bounds(footprint))
        extent.times.append(row["acquired_at"])
        extent.models.add(row["model"])
    ground = shapely.union_all([shapely.box(*one) for one in extent.boxes if one[0] <= one[2]])
    for model in sorted(extent.models):
        item = _make_model(model, collection, extent, ground)
        _write(below / "items" / f"{item['id']}.json", item)
        names.append(item["id"])
    names += _write_labels(conn, request, below, collection)
    _write(below / "collection.json", _make_collection(rows[-1], collection, extent, names))
    _write(folder / "catalog.json", _make_root(request.watch, collection))
    _write(folder / MARKER, describe(request, None))


def _make_item(row: dict[str, Any], collection: str) -> Document:
    """Make the item of an observation."""
    footprint = shapely.from_wkb(row["footprint"])
    name = f"{_write_time(row['acquired_at'])[:10]}-{row['observation_id']}"
    assets = {
        _DETECTIONS: {
            "href": f"../{_DETECTIONS}/{name}.geojson",
            "type": _GEOJSON,
            "title": f"{row['detections']} detections",
            "roles": ["data"],
        }
    }
    for key, href in (row["assets"] or {}).items():
        assets.setdefault(key, {"href": href, "title": "Source imagery", "roles": ["source"]})
    properties = {
        "datetime": _write_time(row["acquired_at"]),
        "created": _write_time(row["committed_at"]),
        "title": f"{', '.join(row['targets'])}: {row['detections']} detections",
        **_describe_processing(row["model"], row["instruction"]),
        "segwatch:instruction": row["instruction"],
        "segwatch:targets": list(row["targets"]),
        "segwatch:model": row["model"],
        "segwatch:detections": row["detections"],
        "segwatch:answer": row["answer"],
        "segwatch:clear_share": row["clear_share"],
        "segwatch:observed_km2": row["area_km2"],
        "segwatch:tiles": row["tiles"],
        "segwatch:tiles_failed": row["tiles_failed"],
        "segwatch:source_catalog": row["catalog"],
        "segwatch:source_collection": row["collection"],
    }
    if row["platform"]:
        properties["platform"] = row["platform"]
    if is_demonstration(row["model"]):
        properties["segwatch:model_mark"] = "demonstration model"
    links = [{"rel": "derived_from", "href": href, "type": _GEOJSON} for href in row["item_hrefs"] or ()]
    links.append({"rel": "derived_from", "href": f"./{_name_model(row['model'])}.json", "type": _GEOJSON})
    return _assemble(name, collection, footprint, properties, assets, links, [PROCESSING])


def _make_model(model: str, collection: str, extent: _Extent, ground: BaseGeometry) -> Document:
    """Make the item of a model: where and on what period it was run. Its weights are no part of the catalog."""
    name, _, revision = model.partition("@")
    architecture = next((one for start, one in _ARCHITECTURES.items() if name.startswith(start)), name)
    tasks = ["instance-segmentation" if architecture == "SAM 3" else "semantic-segmentation"]
    properties = {
        "datetime": None,
        "start_datetime": _write_time(min(extent.times)),
        "end_datetime": _write_time(max(extent.times)),
        "title": f"Model {model}",
        "mlm:name": re.sub(r"[^a-zA-Z0-9_.\- ]", "-", name),
        "mlm:architecture": architecture,
        "mlm:tasks": tasks,
        "mlm:input": [
            {
                "name": "rendering in red, green and blue, with the instruction as text",
                "bands": [],
                "input": {
                    "shape": [-1, 3, -1, -1],
                    "dim_order": ["batch", "channel", "height", "width"],
                    "data_type": "uint8",
                },
            }
        ],
        "mlm:output": [
            {
                "name": "probability of each target",
                "tasks": tasks,
                "result": {
                    "shape": [-1, -1, -1, -1],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": [],
            }
        ],
        "segwatch:model_version": revision,
    }
    if is_demonstration(model):
        properties["segwatch:model_mark"] = "demonstration model"
    return _assemble(_name_model(model), collection, ground, properties, {}, [], [MLM])


def _write_labels(conn: Connection, request: Request, below: Path, collection: str) -> list[str]:
    """Write the reviewed objects and their item; returns its name, or nothing if nobody reviewed."""
    found = [part for part in analyst.iter_reviewed(conn, request.selection) if part]
    rows = [dict(zip(REVIEWED.columns, row, strict=True)) for part in found for row in part]
    if not rows:
        return []
    name = "reviewed"
    _write_layer(found, REVIEWED, below / f"{name}.geojson")
    times = [row["looked_at"] for row in rows]
    verdicts = [row["verdict"] for row in rows]
    properties = {
        "datetime": None,
        "start_datetime": _write_time(min(times)),
        "end_datetime": _write_time(max(times)),
        "title": "Reviewed objects",
        "label:type": "vector",
        "label:description": "Objects that people confirmed, drew anew (edited) or rejected",
        "label:properties": ["target", "verdict"],
        "label:tasks": ["segmentation"],
        "label:methods": ["manual"],
        "label:classes": [
            {"name": "target", "classes": sorted({row["target"] for row in rows})},
            {"name": "verdict", "classes": sorted(set(verdicts))},
        ],
        "label:overviews": [
            {
                "property_key": "verdict",
                "counts": [{"name": one, "count": verdicts.count(one)} for one in sorted(set(verdicts))],
            }
        ],
    }
    asset = {"href": f"../{name}.geojson", "type": _GEOJSON, "title": "Reviewed objects", "roles": ["labels"]}
    around = to_box(
        union_bounds([compute_bounds(shape) for shape in shapely.from_wkb([row["geometry"] for row in rows])])
    )
    item = _assemble(name, collection, around, properties, {"labels": asset}, [], [LABEL])
    _write(below / "items" / f"{name}.json", item)
    return [name]


def _make_collection(
    latest: dict[str, Any], collection: str, extent: _Extent, items: Sequence[str]
) -> Document:
    instruction = latest["instruction"]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [PROCESSING],
        "id": collection,
        "title": f"segwatch: {collection}",
        "description": f"Observations of the standing instruction “{instruction}” with the polygons found in each.",
        "license": "other",
        "keywords": ["segmentation", *latest["targets"]],
        "providers": [
            {"name": "segwatch", "roles": ["processor"], **_describe_processing(latest["model"], instruction)}
        ],
        "extent": {
            "spatial": {"bbox": [list(extent.bounds)]},
            "temporal": {"interval": [[_write_time(min(extent.times)), _write_time(max(extent.times))]]},
        },
        "summaries": {"segwatch:model": sorted(extent.models)},
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": _JSON},
            {"rel": "parent", "href": "../catalog.json", "type": _JSON},
            *({"rel": "item", "href": f"./items/{one}.json", "type": _GEOJSON} for one in items),
        ],
    }


def _make_root(watch: str, collection: str) -> Document:
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": f"segwatch-{collection}",
        "title": f"segwatch: {watch}",
        "description": f"What the watch {watch} observed and found, exported by segwatch.",
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": _JSON},
            {"rel": "child", "href": f"./{collection}/collection.json", "type": _JSON},
        ],
    }


def _assemble(
    name: str,
    collection: str,
    geometry: BaseGeometry,
    properties: Document,
    assets: Document,
    links: Iterable[Document],
    extensions: list[str],
) -> Document:
    up = "../collection.json"
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": extensions,
        "id": name,
        "collection": collection,
        "geometry": mapping(geometry),
        "bbox": list(compute_bounds(geometry)),
        "properties": {
            key: value for key, value in properties.items() if value is not None or key == "datetime"
        },
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": _JSON},
            {"rel": "parent", "href": up, "type": _JSON},
            {"rel": "collection", "href": up, "type": _JSON},
            *links,
        ],
        "assets": assets,
    }


def _describe_processing(model: str, instruction: str) -> Document:
    name, _, revision = model.partition("@")
    return {
        "processing:lineage": f"segwatch rendered the scene in red, green and blue and asked {model}: {instruction}",
        "processing:software": {"segwatch": version("segwatch"), name: revision or "unknown"},
    }


def _write_layer(parts: Iterable[Rows], layer: Layer, target: Path) -> None:
    rows = WatchedRows(parts)
    with rows.keep_error():
        gdal.write_layer(make_reader(make_schema(layer), rows), target, gdal.GEOJSON, {}, layer=layer.name)


def _write(target: Path, document: Document | dict[str, str]) -> None:
    target.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _name_model(model: str) -> str:
    return "model-" + _make_name(model.replace("@", "-"))


def _make_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "watch"


def _write_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
