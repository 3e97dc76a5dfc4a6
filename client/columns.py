"""Columns of the tables that the client returns: name, dtype and unit. Names and meanings are those of the views.

A table has these columns, in this order and with these dtypes, whatever it was read from and also when it is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of a column."""

    dtype: str
    """dtype of pandas. All but ``float64`` have ``pandas.NA`` or ``NaT`` where the view has null."""
    unit: str = ""
    """Unit, or the range of values; empty = none."""


TEXT = Kind("string")
IDENTIFIER = Kind("string", "UUID")
TIME = Kind("datetime64[us, UTC]", "UTC")
DAY = Kind("string", "YYYY-MM-DD")
COUNT = Kind("Int64")
FLAG = Kind("boolean")
AREA = Kind("float64", "m2, geodesic")
SHARE = Kind("float64", "0..1")
METRES = Kind("float64", "m")
SQUARE_KM = Kind("float64", "km2, geodesic")
SECONDS = Kind("float64", "s")
BYTES = Kind("float64", "bytes")
#: Lists of texts, and JSON documents as dictionaries; None where the view has null.
TEXTS = Kind("object", "list of text")
DOCUMENT = Kind("object", "dictionary")
GEOMETRY = Kind("geometry", "degrees, EPSG:4326")


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of table."""

    view: str
    """View of the schema ``watch``, or its function ``objects_as_of``."""
    key: tuple[str, ...]
    """Columns that together identify a row."""
    columns: Mapping[str, Kind]
    order: tuple[str, ...] = ()
    """Columns that rows are sorted by, before those of the key."""
    time: str = ""
    """Column that ``start`` and ``end`` refer to; empty = the table has none."""
    has_model: bool = True
    """Whether rows come from a model, so that the table says which and how accurate it is."""


_SOURCE = {
    "observation_id": IDENTIFIER,
    "scene_id": IDENTIFIER,
    "item_hrefs": TEXTS,
    "model": TEXT,
    "instruction_revision": IDENTIFIER,
}
_BELIEF = {
    "confidence": SHARE,
    "status": TEXT,
    "observations_for": COUNT,
    "observations_against": COUNT,
}
_EVIDENCE = {"evidence": DOCUMENT, "shadow_share": SHARE, "shadow_iou": SHARE}
_CHANGE = {
    "target": TEXT,
    "kind": TEXT,
    "valid_at": TIME,
    "before_m2": AREA,
    "after_m2": AREA,
    "geom": GEOMETRY,
    **_SOURCE,
    "retracted_at": TIME,
    "retracted_because": TEXT,
    "confidence": SHARE,
}

WATCHES = Table(
    "watches",
    ("watch",),
    {
        "watch": TEXT,
        "instruction": TEXT,
        "targets": TEXTS,
        "profile": TEXT,
        "collection": TEXT,
        "catalog": TEXT,
        "gsd_m": METRES,
        "min_polygon_m2": AREA,
        "min_change_m2": AREA,
        "min_change_ratio": SHARE,
        "starts_at": TIME,
        "ends_at": TIME,
        "schedule": TEXT,
        "priority": COUNT,
        "applied_at": TIME,
        "watch_revision": IDENTIFIER,
        "instruction_revision": IDENTIFIER,
        "geom": GEOMETRY,
    },
    has_model=False,
)
OBJECTS = Table(
    "objects_now",
    ("track_id",),
    {
        "object_id": IDENTIFIER,
        "track_id": IDENTIFIER,
        "watch": TEXT,
        "target": TEXT,
        "area_m2": AREA,
        "score": SHARE,
        **_BELIEF,
        "confidence_calibrated": SHARE,
        "first_seen": TIME,
        "last_seen": TIME,
        "last_looked": TIME,
        "visible_share": SHARE,
        "last_change": TEXT,
        "last_change_at": TIME,
        "review": TEXT,
        "reviewed_at": TIME,
        "instruction": TEXT,
        **_SOURCE,
        **_EVIDENCE,
        "series_id": IDENTIFIER,
        "watch_revision": IDENTIFIER,
        "accuracy": TEXT,
        "geom": GEOMETRY,
    },
)
OBJECTS_AS_OF = Table(
    "objects_as_of",
    ("track_id",),
    {
        "object_id": IDENTIFIER,
        "track_id": IDENTIFIER,
        "watch": TEXT,
        "target": TEXT,
        "area_m2": AREA,
        "score": SHARE,
        **_BELIEF,
        "valid_from": TIME,
        "valid_to": TIME,
        "change": TEXT,
        "review": TEXT,
        **_SOURCE,
        "geom": GEOMETRY,
    },
)
STATES = Table(
    "object_history",
    ("track_id", "valid_from", "recorded_from", "observation_id"),
    {
        "object_id": IDENTIFIER,
        "track_id": IDENTIFIER,
        "watch": TEXT,
        "target": TEXT,
        "valid_from": TIME,
        "valid_to": TIME,
        "area_m2": AREA,
        "score": SHARE,
        **_BELIEF,
        "change": TEXT,
        "alive": FLAG,
        "baseline": FLAG,
        "recorded_from": TIME,
        "recorded_to": TIME,
        "in_force": FLAG,
        "review": TEXT,
        "reviewed_at": TIME,
        **_SOURCE,
        "accuracy": TEXT,
        "geom": GEOMETRY,
    },
)
CHANGES = Table(
    "changes",
    ("change_id",),
    {
        "change_id": IDENTIFIER,
        "track_id": IDENTIFIER,
        "watch": TEXT,
        **_CHANGE,
        "status": TEXT,
        "observations_for": COUNT,
        "observations_against": COUNT,
        "confidence_calibrated": SHARE,
        "earliest": TIME,
        "latest": TIME,
        "score": SHARE,
        "baseline": FLAG,
        "recorded_at": TIME,
        "review": TEXT,
        **_EVIDENCE,
        "accuracy": TEXT,
    },
    order=("valid_at",),
    time="valid_at",
)
ALERTS = Table(
    "alerts",
    ("alert_id",),
    {
        "alert_id": IDENTIFIER,
        "change_id": IDENTIFIER,
        "track_id": IDENTIFIER,
        "watch": TEXT,
        "rule": TEXT,
        "created_at": TIME,
        "status": TEXT,
        "status_at": TIME,
        "status_note": TEXT,
        "snoozed_until": TIME,
        **_CHANGE,
        "change_status": TEXT,
        "observations_for": COUNT,
        "observations_against": COUNT,
        "delivered_at": TIME,
        "deliveries_pending": COUNT,
        "deliveries_failed": COUNT,
        "deliveries_withdrawn": COUNT,
        **_EVIDENCE,
        "accuracy": TEXT,
    },
    order=("created_at",),
    time="created_at",
)
COVERAGE = Table(
    "coverage",
    ("observation_id",),
    {
        "observation_id": IDENTIFIER,
        "watch": TEXT,
        "scene_key": TEXT,
        "acquired_at": TIME,
        "state": TEXT,
        "reason": TEXT,
        "waits": TEXT,
        "attempts": COUNT,
        "clear_share": SHARE,
        "detections": COUNT,
        "tiles": COUNT,
        "tiles_failed": COUNT,
        "area_km2": SQUARE_KM,
        "item_hrefs": TEXTS,
        "catalog": TEXT,
        "model": TEXT,
        "instruction": TEXT,
        "instruction_revision": IDENTIFIER,
        "answer": TEXT,
        "discovered_at": TIME,
        "leased_at": TIME,
        "read_at": TIME,
        "inferred_at": TIME,
        "committed_at": TIME,
        "compute_seconds": SECONDS,
        "bytes_read": BYTES,
        "shift_east_m": METRES,
        "shift_north_m": METRES,
        "shift_quality": SHARE,
        "shift_source": TEXT,
        "shift_problem": TEXT,
        "version": COUNT,
        "superseded_at": TIME,
        "geom": GEOMETRY,
    },
    order=("acquired_at",),
    time="acquired_at",
)
IMAGERY = Table(
    "imagery",
    ("watch", "scene_id", "item_id"),
    {
        "watch": TEXT,
        "scene_id": IDENTIFIER,
        "scene_key": TEXT,
        "collection": TEXT,
        "platform": TEXT,
        "relative_orbit": TEXT,
        "solar_day": DAY,
        "acquired_at": TIME,
        "state": TEXT,
        "item_id": TEXT,
        "item_href": TEXT,
        "item_acquired_at": TIME,
        "updated_at": TIME,
        "processing_baseline": TEXT,
        "assets": DOCUMENT,
        "properties": DOCUMENT,
        "profile": DOCUMENT,
        "catalog": TEXT,
        "geom": GEOMETRY,
    },
    order=("acquired_at",),
    time="acquired_at",
    has_model=False,
)
DETECTIONS = Table(
    "detections",
    ("detection_id",),
    {
        "detection_id": IDENTIFIER,
        "track_id": IDENTIFIER,
        "watch": TEXT,
        "target": TEXT,
        "acquired_at": TIME,
        "area_m2": AREA,
        "score": SHARE,
        **_SOURCE,
        **_EVIDENCE,
        "geom": GEOMETRY,
    },
    order=("acquired_at",),
    time="acquired_at",
)
#: Tables of :meth:`segwatch.client.session.Session.pages`, by the name that asks for them.
TABLES: Mapping[str, Table] = {
    "objects": OBJECTS,
    "states": STATES,
    "changes": CHANGES,
    "alerts": ALERTS,
    "coverage": COVERAGE,
    "detections": DETECTIONS,
}
#: What the documents call each table, by the name of the method.
DOCUMENTED: Mapping[str, Table] = {
    "watches()": WATCHES,
    "objects(watch)": OBJECTS,
    "objects(watch, at=...)": OBJECTS_AS_OF,
    "states(watch)": STATES,
    "changes(watch)": CHANGES,
    "alerts(watch)": ALERTS,
    "coverage(watch)": COVERAGE,
    "detections(watch)": DETECTIONS,
}
