"""Documents of STAC catalogs about a watch: its collection, one item per observation, and items of reviewed truth.

The static catalog and the API write the same documents; only :class:`Addresses` differ. Items name what they come from:
links ``derived_from`` lead to the source items and to an item of the model (extension mlm), and extension processing
says what made them. Reviewed objects are an item of extension label. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import Bounds, compute_bounds, to_box, union_bounds
from segwatch.geo.identity import is_demonstration

STAC_VERSION = "1.1.0"
PROCESSING = "https://stac-extensions.github.io/processing/v1.1.0/schema.json"
MLM = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
LABEL = "https://stac-extensions.github.io/label/v1.0.0/schema.json"
JSON, GEOJSON = "application/json", "application/geo+json"
#: Name of the item of the reviewed objects in each collection.
REVIEWED = "reviewed"
#: Architectures by the beginning of a model's name; others are called by their names.
_ARCHITECTURES = {"segearth-r2": "SegEarth-R2", "sam3": "SAM 3"}

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the documents of a collection are, as seen from its items."""

    root: str
    collection: str
    item: Callable[[str], str]
    """By the name of the item."""
    detections: Callable[[str], str]
    """GeoJSON of the detections of an observation, by the name of its item."""
    reviewed: str
    """GeoJSON of the reviewed objects."""
    is_absolute: bool = False
    """Whether items can say where they are themselves."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a collection holds."""

    collection: str
    instruction: str
    targets: Sequence[str]
    bounds: Bounds
    begin: datetime | None
    end: datetime | None
    """None = it is open."""
    models: Sequence[str] = ()
    latest_model: str | None = None


@dataclass(frozen=True, slots=True)
class ModelUse:
    """Where and when a model was run."""

    model: str
    bounds: Bounds
    begin: datetime
    end: datetime


def name_item(acquired_at: datetime, observation_id: object) -> str:
    """Name the item of an observation: day of acquisition and id."""
    return f"{write_time(acquired_at)[:10]}-{observation_id}"


def name_model(model: str) -> str:
    """Name the item of a model."""
    return "model-" + name_collection(model.replace("@", "-"))


def name_collection(watch: str) -> str:
    """Name the collection of a watch."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", watch).strip("-") or "watch"


def write_time(moment: datetime) -> str:
    """Write a time as RFC 3339, UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def make_item(row: Mapping[str, Any], collection: str, at: Addresses) -> Document:
    """Make the item of an observation.

    Parameters
    ----------
    row
        As :func:`segwatch.db.analyst.list_observations` and :func:`segwatch.db.analyst.list_catalog_page` return it.
    """
    footprint = shapely.from_wkb(row["footprint"])
    name = name_item(row["acquired_at"], row["observation_id"])
    assets = {
        "detections": {
            "href": at.detections(name),
            "type": GEOJSON,
            "title": f"{row['detections']} detections",
            "roles": ["data"],
        }
    }
    for key, href in (row["assets"] or {}).items():
        assets.setdefault(key, {"href": href, "title": "Source imagery", "roles": ["source"]})
    subject = ", ".join(row["targets"]) if row["targets"] else row["instruction"]
    properties = {
        "datetime": write_time(row["acquired_at"]),
        "created": write_time(row["committed_at"]),
        "title": f"{subject}: {row['detections']} detections",
        **_describe_processing(row["model"], row["instruction"]),
        "segwatch:instruction": row["instruction"],
        "segwatch:targets": list(row["targets"]) if row["targets"] else None,
        "segwatch:model": row["model"],
        "segwatch:detections": row["detections"],
        "segwatch:answer": row["answer"],
        "segwatch:clear_share": row["clear_share"],
        "segwatch:observed_km2": row["area_km2"],
        "segwatch:tiles": row["tiles"],
        "segwatch:tiles_failed": row["tiles_failed"],
        "segwatch:source_catalog": row["catalog"],
        "segwatch:source_collection": row["collection"],
        "segwatch:model_mark": "demonstration model" if is_demonstration(row["model"]) else None,
        "platform": row["platform"] or None,
    }
    links = [{"rel": "derived_from", "href": href, "type": GEOJSON} for href in row["item_hrefs"] or ()]
    links.append({"rel": "derived_from", "href": at.item(name_model(row["model"])), "type": GEOJSON})
    return _assemble(name, collection, footprint, properties, assets, links, [PROCESSING], at)


def make_model_item(use: ModelUse, collection: str, at: Addresses) -> Document:
    """Make the item of a model: where and on what period it was run. Its weights are no part of the catalog."""
    name, _, revision = use.model.partition("@")
    architecture = next((one for start, one in _ARCHITECTURES.items() if name.startswith(start)), name)
    tasks = ["instance-segmentation" if architecture == "SAM 3" else "semantic-segmentation"]
    properties = {
        "datetime": None,
        "start_datetime": write_time(use.begin),
        "end_datetime": write_time(use.end),
        "title": f"Model {use.model}",
        "mlm:name": _write_model_name(name),
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
        "segwatch:model_mark": "demonstration model" if is_demonstration(use.model) else None,
    }
    return _assemble(name_model(use.model), collection, to_box(use.bounds), properties, {}, [], [MLM], at)


def _write_model_name(name: str) -> str:
    """Write a name as extension mlm takes it: from a letter on, of at least three characters."""
    plain = re.sub(r"[^a-zA-Z0-9_.\- ]", "-", name).strip("_.- ")
    return plain if re.match(r"[a-zA-Z]..", plain) else f"model {plain or 'unknown'}"


def make_reviewed_item(rows: Sequence[Mapping[str, Any]], collection: str, at: Addresses) -> Document:
    """Make the item of the reviewed objects.

    Parameters
    ----------
    rows
        At least one, with ``target``, ``verdict``, ``looked_at`` and ``geometry`` (WKB, EPSG:4326).
    """
    times = [row["looked_at"] for row in rows]
    verdicts = [row["verdict"] for row in rows]
    properties = {
        "datetime": None,
        "start_datetime": write_time(min(times)),
        "end_datetime": write_time(max(times)),
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
    asset = {"href": at.reviewed, "type": GEOJSON, "title": "Reviewed objects", "roles": ["labels"]}
    around = to_box(
        union_bounds([compute_bounds(shape) for shape in shapely.from_wkb([row["geometry"] for row in rows])])
    )
    return _assemble(REVIEWED, collection, around, properties, {"labels": asset}, [], [LABEL], at)


def make_collection(held: Summary, links: Sequence[Document]) -> Document:
    """Make a collection."""
    provider: Document = {"name": "segwatch", "roles": ["processor"]}
    if held.latest_model is not None:
        provider |= _describe_processing(held.latest_model, held.instruction)
    interval = [None if one is None else write_time(one) for one in (held.begin, held.end)]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [PROCESSING] if held.latest_model is not None else [],
        "id": held.collection,
        "title": f"segwatch: {held.collection}",
        "description": f"Observations of the instruction “{held.instruction}” with the polygons found in each.",
        "license": "other",
        "keywords": ["segmentation", *held.targets],
        "providers": [provider],
        "extent": {"spatial": {"bbox": [list(held.bounds)]}, "temporal": {"interval": [interval]}},
        "summaries": {"segwatch:model": sorted(held.models)} if held.models else {},
        "links": list(links),
    }


def _assemble(
    name: str,
    collection: str,
    geometry: BaseGeometry,
    properties: Document,
    assets: Document,
    links: Iterable[Document],
    extensions: list[str],
    at: Addresses,
) -> Document:
    own = [{"rel": "self", "href": at.item(name), "type": GEOJSON}] if at.is_absolute else []
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
            *own,
            {"rel": "root", "href": at.root, "type": JSON},
            {"rel": "parent", "href": at.collection, "type": JSON},
            {"rel": "collection", "href": at.collection, "type": JSON},
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
