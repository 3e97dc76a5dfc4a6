"""The ledger's tables (schema ``segwatch``). Geometries are EPSG:4326, areas geodesic m², times UTC."""

from segwatch.db.tables.alerts import alert, alert_correction, alert_mark, channel, delivery
from segwatch.db.tables.columns import SCHEMA, metadata
from segwatch.db.tables.events import event, event_name
from segwatch.db.tables.imagery import rejected_item, scene, scene_item
from segwatch.db.tables.operations import access_token, circuit, mutex, run
from segwatch.db.tables.results import (
    change,
    change_evidence,
    change_judgement,
    detection,
    observation,
    review,
    seen_ground,
    series,
    series_counts,
    track,
    track_lineage,
    track_state,
)
from segwatch.db.tables.watches import area, discovery, instruction, watch, watch_area, watch_head, watermark

__all__ = [
    "SCHEMA",
    "access_token",
    "alert",
    "alert_correction",
    "alert_mark",
    "area",
    "change",
    "change_evidence",
    "change_judgement",
    "channel",
    "circuit",
    "delivery",
    "detection",
    "discovery",
    "event",
    "event_name",
    "instruction",
    "metadata",
    "mutex",
    "observation",
    "rejected_item",
    "review",
    "run",
    "scene",
    "scene_item",
    "seen_ground",
    "series",
    "series_counts",
    "track",
    "track_lineage",
    "track_state",
    "watch",
    "watch_area",
    "watch_head",
    "watermark",
]
