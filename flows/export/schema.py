"""The Arrow schemas of exported objects and changes: names, types, units and meaning of their columns.

Every format has the same columns, as far as it knows their types: formats without time zones hold UTC. The extra
``analysis`` provides pyarrow, which is imported where it is needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segwatch.db.analyst import (
    CHANGE_COLUMNS,
    DETECTION_COLUMNS,
    HISTORY_COLUMNS,
    OBJECT_COLUMNS,
    OBSERVATION_COLUMNS,
    REVIEW_COLUMNS,
    SHOWN_COLUMNS,
)

if TYPE_CHECKING:
    import pyarrow as pa

GEOMETRY = "geometry"
CRS = "EPSG:4326"

_TEXT, _NUMBER, _COUNT, _TIME, _WKB, _FLAG = "text", "number", "count", "time", "wkb", "flag"


@dataclass(frozen=True, slots=True)
class Field:
    """A column of an export."""

    kind: str
    """text, number (float64), count (int32), time (microseconds, UTC), flag (boolean) or wkb (geometry)."""
    meaning: str
    """Meaning and unit."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A table of an export."""

    name: str
    columns: tuple[str, ...]
    meaning: str
    begin: str
    """Column of the time at which a row begins to hold on the ground."""
    end: str | None
    """Column of its end; null in it = until now. None = a moment."""

    def describe(self) -> dict[str, Field]:
        """Return the columns by name, in order."""
        return {name: FIELDS[name] for name in self.columns}


_PROBABILITY = "0 to 1"
_ACCURACY = "from the newest assessment of the series, 0 to 1; null: not assessed"
FIELDS = {
    "id": Field(_TEXT, "Id of the object in its series (track_id), or of the change."),
    "track_id": Field(_TEXT, "Id of the object that changed."),
    "object_id": Field(_TEXT, "Id of the object that stays when a new model or instruction begins a series."),
    "watch": Field(_TEXT, "Name of the watch."),
    "series_id": Field(_TEXT, "Id of the series: one watch, instruction revision and model version."),
    "target": Field(_TEXT, "Target of the instruction, such as water."),
    "instruction": Field(_TEXT, "Text of the instruction."),
    "model": Field(_TEXT, "Name of the model."),
    "model_version": Field(_TEXT, "Version of the model: the beginning of the hash of its weights."),
    "model_mark": Field(
        _TEXT, "demonstration model: shows how segwatch works, not assessed for use; else null."
    ),
    "change": Field(_TEXT, "appeared, grew, shrank, moved, split, merged, disappeared or reappeared."),
    "presence": Field(
        _NUMBER,
        f"Probability that the target is in the observation at all, {_PROBABILITY}; null if not stated.",
    ),
    "score": Field(
        _NUMBER, f"Mean probability of the model inside the polygon, {_PROBABILITY}; not calibrated."
    ),
    "confidence": Field(
        _NUMBER, f"Probability that it is so, given all observations, {_PROBABILITY}; null: not judged."
    ),
    "confidence_calibrated": Field(
        _NUMBER, f"Confidence corrected with labels, {_PROBABILITY}; null: not calibrated."
    ),
    "status": Field(_TEXT, "provisional, confirmed or refuted; null: not judged."),
    "observations_for": Field(_COUNT, "Number of observations that speak for it."),
    "observations_against": Field(_COUNT, "Number of observations that speak against it."),
    "first_seen": Field(_TIME, "Acquisition time of the first detection, UTC."),
    "last_seen": Field(_TIME, "Acquisition time of the latest detection, UTC."),
    "last_looked": Field(_TIME, "Acquisition time of the latest observation of enough of the object, UTC."),
    "valid_begin": Field(_TIME, "Since when the object has had this geometry on the ground, UTC."),
    "valid_end": Field(_TIME, "Until when, UTC; null: it still has."),
    "recorded_begin": Field(_TIME, "Since when this has been known, UTC."),
    "area_m2": Field(_NUMBER, "Geodesic area, square metres."),
    "last_change": Field(_TEXT, "Kind of the latest change of the object; null: it is as first observed."),
    "last_change_at": Field(_TIME, "When that change happened on the ground, UTC."),
    "valid_at": Field(_TIME, "When the change happened on the ground: acquisition time of the scene, UTC."),
    "earliest": Field(_TIME, "Start of the interval in which the change happened, UTC; null: not judged."),
    "latest": Field(_TIME, "End of the interval in which the change happened, UTC; null: not judged."),
    "recorded_at": Field(_TIME, "When the change was recorded, UTC."),
    "retracted_at": Field(_TIME, "When the change was retracted, UTC; null: it holds."),
    "retracted_because": Field(_TEXT, "Why the change was retracted."),
    "before_m2": Field(_NUMBER, "Geodesic area of the object before the change, square metres."),
    "after_m2": Field(_NUMBER, "Geodesic area of the object after the change, square metres."),
    "review": Field(
        _TEXT, "Verdict of the latest review: confirmed, edited or rejected; null: not reviewed."
    ),
    "observation_id": Field(_TEXT, "Id of the observation that the row comes from."),
    "scene_id": Field(_TEXT, "Id of the scene that the row comes from."),
    "item_links": Field(_TEXT, "Links to the STAC items of the scene: a JSON array of texts."),
    "accuracy": Field(
        _TEXT,
        "Accuracy of the map of this target in words, with 95 % intervals, or: not assessed; after "
        "'demonstration model, ' where the shipped model was used.",
    ),
    "users_accuracy": Field(_NUMBER, f"User's accuracy {_ACCURACY}."),
    "users_accuracy_low": Field(_NUMBER, "Lower end of its 95 % interval."),
    "users_accuracy_high": Field(_NUMBER, "Upper end of its 95 % interval."),
    "producers_accuracy": Field(_NUMBER, f"Producer's accuracy {_ACCURACY}."),
    "producers_accuracy_low": Field(_NUMBER, "Lower end of its 95 % interval."),
    "producers_accuracy_high": Field(_NUMBER, "Upper end of its 95 % interval."),
    "baseline": Field(
        _FLAG, "True if it was there when its ground was first observed: no change on the ground."
    ),
    "acquired_at": Field(_TIME, "Acquisition time of the scene, UTC."),
    "answer": Field(_TEXT, "What the model answered in words."),
    "clear_share": Field(_NUMBER, "Share of the valid pixels that are clear, 0 to 1."),
    "observed_km2": Field(_NUMBER, "Geodesic area of the observed footprint, square kilometres."),
    "detections": Field(_COUNT, "Number of polygons found."),
    "verdict": Field(_TEXT, "Verdict of a person: confirmed, edited or rejected."),
    "looked_at": Field(_TIME, "Acquisition time of the scene that the verdict is about, UTC."),
    "decided_at": Field(_TIME, "When the verdict was given, UTC."),
    "delta": Field(
        _TEXT,
        "In a delta feed: inserted, changed, ended or retracted since the token; null in other exports.",
    ),
    GEOMETRY: Field(_WKB, "MultiPolygon, longitude and latitude in degrees (EPSG:4326)."),
}
SHOWN = Layer(
    "objects",
    SHOWN_COLUMNS,
    "Objects as the map shows them, one per row.",
    "valid_begin",
    "valid_end",
)
OBJECTS = Layer(
    "objects", OBJECT_COLUMNS, "Objects on the ground, one row per object", "valid_begin", "valid_end"
)
CHANGES = Layer("changes", CHANGE_COLUMNS, "Changes that hold, without the baseline", "valid_at", None)
HISTORY = Layer(
    "history", HISTORY_COLUMNS, "Every state of the objects, as known now", "valid_begin", "valid_end"
)
OBSERVATIONS = Layer(
    "observations", OBSERVATION_COLUMNS, "Observations with their observed footprint", "acquired_at", None
)
DETECTIONS = Layer(
    "detections",
    DETECTION_COLUMNS,
    "Polygons of one observation as the model found them",
    "acquired_at",
    None,
)
REVIEWED = Layer("reviewed", REVIEW_COLUMNS, "Reviewed objects with their verdict", "looked_at", None)


def make_schema(layer: Layer) -> pa.Schema:
    """Make the Arrow schema of a layer; the geometry is marked as ``geoarrow.wkb``."""
    import pyarrow as pa

    types = {
        _TEXT: pa.string(), _NUMBER: pa.float64(), _COUNT: pa.int32(), _TIME: pa.timestamp("us", tz="UTC"),
        _WKB: pa.binary(), _FLAG: pa.bool_(),
    }  # fmt: skip
    return pa.schema(
        [
            pa.field(name, types[field.kind], metadata=_mark(name, field))
            for name, field in layer.describe().items()
        ]
    )


def _mark(name: str, field: Field) -> dict[str, str]:
    if name != GEOMETRY:
        return {"description": field.meaning}
    return {
        "description": field.meaning,
        "ARROW:extension:name": "geoarrow.wkb",
        "ARROW:extension:metadata": json.dumps({"crs": CRS}),
    }
