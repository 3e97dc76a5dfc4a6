"""Messages about alerts: CloudEvents 1.0 in JSON, in the shape that Standard Webhooks recommends.

https://github.com/cloudevents/spec (structured mode) and https://www.standardwebhooks.com (type, timestamp, data).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_bounds, to_box, union_bounds
from segwatch.geo.types.tracking import Change
from segwatch.geo.types.watch import AlertRule

ALERT = "segwatch.alert"
DIGEST = "segwatch.alert.digest"
ESCALATED = "segwatch.alert.escalated"
PROVISIONAL = "segwatch.alert.provisional"
CONFIRMED = "segwatch.alert.confirmed"
REFUTED = "segwatch.alert.refuted"
RETRACTED = "segwatch.alert.retracted"
REINSTATED = "segwatch.alert.reinstated"
TEST = "segwatch.test"
CATALOG_SILENT = "segwatch.catalog.silent"
CATALOG_RESUMED = "segwatch.catalog.resumed"
ABOUT_CATALOGS = (CATALOG_SILENT, CATALOG_RESUMED)
TYPES = (
    ALERT,
    DIGEST,
    ESCALATED,
    PROVISIONAL,
    CONFIRMED,
    REFUTED,
    RETRACTED,
    REINSTATED,
    TEST,
    *ABOUT_CATALOGS,
)
"""Types of messages that are sent."""
#: Version 1 had neither this field nor beliefs.
DATA_SCHEMA = "urn:segwatch:messages:2"
"""Names the schema of ``data``, docs/reference/messages.schema.json; a change that breaks receivers gets another."""
#: Fields of the belief of a change, null where it is not judged.
BELIEF = (
    "confidence",
    "confidence_calibrated",
    "status",
    "observations_for",
    "observations_against",
    "earliest",
    "latest",
)
#: The confidence of ``segwatch.held_change c`` by the calibration of its series that is in force; null without one.
CALIBRATED_SQL = """(
    SELECT segwatch.interpolate(c.confidence, n.raw, n.calibrated)
    FROM segwatch.track k JOIN segwatch.current_calibration n
      ON n.series_id = k.series_id AND n.target = k.target AND n.subject = 'change'
    WHERE k.id = c.track_id)"""
#: The belief as columns, and as JSON, in SQL, from ``segwatch.held_change c``.
BELIEF_COLUMNS = ", ".join(
    f"{CALIBRATED_SQL} AS {name}" if name == "confidence_calibrated" else f"c.{name}" for name in BELIEF
)
BELIEF_SQL = f"(SELECT to_jsonb(b) FROM (SELECT {BELIEF_COLUMNS}) AS b)"  # noqa: S608 - parts of this file
#: Whether ``segwatch.held_change c`` is neither refuted nor less sure than the rule of ``segwatch.alert a`` asked for.
IS_SURE_SQL = (
    "(c.status IS NULL OR c.status = 'confirmed' OR c.status = 'provisional' AND a.raised_as = 'provisional')"
)
#: Most receivers refuse bodies over 256 KiB, many queues behind them far smaller ones.
_MAX_GEOMETRY_BYTES = 32_000
_FIRST_TOLERANCE_DEGREES = 1e-5
#: Simplifying takes time with the square of the vertices of a comb: geometries of more are snapped to a grid first, and
#: the first grid has at most so many cells along the longer side. Of still more vertices, the bounding box is left.
_MAX_SIMPLIFIED, _CELLS, _MAX_SNAPPED = 2_500, 2_048, 100_000
#: Limits of a digest: alerts listed one by one, and their bytes.
MAX_LISTED = 100
_MAX_LIST_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class DigestEntry:
    """What a digest needs of an alert."""

    target: str
    kind: str
    bbox: tuple[float, float, float, float]
    """West, south, east, north; degrees. West is east of east where it crosses the antimeridian (RFC 7946)."""


def build_data(
    alert_id: UUID,
    change: Change,
    ground: BaseGeometry,
    rule: AlertRule,
    context: Mapping[str, Any],
) -> dict[str, Any]:
    """Build ``data`` of the messages about one alert, ready for JSON.

    Parameters
    ----------
    ground
        Area gained or lost, or the whole object if neither is known (EPSG:4326).
    context
        ``change_id``, the belief of the change (null where it is not judged), its spectral evidence, the agreement of
        the shadow segmenter, and where it comes from.
    """
    shape, simplified = to_bounded_geojson(ground)
    data = {
        "alert_id": alert_id,
        "track_id": change.track_id,
        "rule": rule.name,
        "kind": change.kind.value,
        "target": change.target,
        "valid_at": change.valid_at.isoformat(),
        "before_m2": change.before_m2,
        "after_m2": change.after_m2,
        "score": change.score,
        "baseline": change.baseline,
        "bbox": list(compute_bounds(ground)),
        "geometry": shape,
        "geometry_simplified": simplified,
    }
    return to_json_values({**context, **data})


def to_json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert ids and times of a row to strings."""
    return {name: _plain(value) for name, value in values.items()}


def build_message(kind: str, delivery_id: UUID, data: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Build a message about one alert; ``data`` comes from :func:`build_data`."""
    return _event(kind, delivery_id, data["track_id"], data, now)


def build_digest(
    delivery_id: UUID,
    watch: str,
    rule: str,
    entries: Sequence[DigestEntry],
    alerts: Iterable[Any],
    now: datetime,
) -> dict[str, Any]:
    """Build a message about several alerts.

    Parameters
    ----------
    rule
        Name of the rule, which is the subject of the message.
    entries
        Every alert of the digest.
    alerts
        ``data`` of the messages about the first of them; as many are listed as fit.
    """
    totals = Counter((one.target, one.kind) for one in entries)
    listed = list(_short(alerts))
    data = {
        "watch": watch,
        "rule": rule,
        "count": len(entries),
        "totals": [
            {"target": target, "kind": kind, "count": count}
            for (target, kind), count in sorted(totals.items())
        ],
        "bbox": list(union_bounds(one.bbox for one in entries)),
        "alerts": listed,
        "not_listed": len(entries) - len(listed),
    }
    return _event(DIGEST, delivery_id, rule, data, now)


def build_test(delivery_id: UUID, watch: str, by: str, now: datetime) -> dict[str, Any]:
    """Build a message that only shows that a channel works."""
    words = "Test message: nothing happened. Alerts of this watch reach this channel."
    return _event(TEST, delivery_id, watch, {"watch": watch, "requested_by": by, "message": words}, now)


def build_catalog_message(
    kind: str, delivery_id: UUID, watch: str, data: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Build a message of one of the types :data:`ABOUT_CATALOGS`; ``data`` has ``message``, the words for people."""
    return _event(kind, delivery_id, watch, to_json_values({"watch": watch, **data}), now)


def _short(alerts: Iterable[Any]) -> Iterator[Any]:
    size = 0
    for one in alerts:
        size += len(json.dumps(one))
        if size > _MAX_LIST_BYTES:
            return
        yield one


def _event(
    kind: str, delivery_id: UUID, subject: object, data: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(delivery_id),
        "source": f"/watches/{quote(str(data['watch']), safe='')}",
        "subject": str(subject),
        "type": kind,
        "time": now.isoformat(),
        "timestamp": now.isoformat(),
        "datacontenttype": "application/json",
        "dataschema": DATA_SCHEMA,
        "data": dict(data),
    }


def to_bounded_geojson(ground: BaseGeometry) -> tuple[dict[str, Any], bool]:
    """Convert a geometry to GeoJSON, simplified until it is small enough to send; and whether it was simplified."""
    document = shapely.to_geojson(ground)
    if len(document) <= _MAX_GEOMETRY_BYTES:
        return json.loads(document), False
    shape = _simplify(ground)
    return json.loads(shapely.to_geojson(to_box(compute_bounds(ground)) if shape.is_empty else shape)), True


def _simplify(ground: BaseGeometry) -> BaseGeometry:
    """Simplify a geometry until it is small enough to send; empty where that is not possible or takes too long."""
    if shapely.get_num_coordinates(ground) > _MAX_SNAPPED:
        return shapely.Polygon()
    fine, tolerance = _snap(ground), _FIRST_TOLERANCE_DEGREES
    while tolerance <= 1:
        shape: BaseGeometry = shapely.simplify(fine, tolerance)
        if len(shapely.to_geojson(shape)) <= _MAX_GEOMETRY_BYTES:
            return shape
        tolerance *= 2
    return shapely.Polygon()


def _snap(ground: BaseGeometry) -> BaseGeometry:
    """Snap a geometry of too many vertices to a grid on which it has few enough; narrower parts are left out."""
    west, south, east, north = ground.bounds
    # fractions of 180 degrees, so that nothing is snapped beyond the antimeridian or a pole
    grid = 180 / 2 ** math.floor(math.log2(180 * _CELLS / max(east - west, north - south)))
    shape = ground
    while shapely.get_num_coordinates(shape) > _MAX_SIMPLIFIED:
        shape = shapely.set_precision(ground, grid)
        grid *= 2
    return shape


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value
