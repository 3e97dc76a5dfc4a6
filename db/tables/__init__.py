"""The ledger's tables (schema ``segwatch``). Geometries are EPSG:4326, areas geodesic m², times UTC."""

from segwatch.db.tables.alerts import alert, alert_correction, alert_mark, channel, delivery
from segwatch.db.tables.assessments import (
    assessment,
    assessment_label,
    assessment_sample,
    assessment_stratum,
    calibration,
    target_accuracy,
)
from segwatch.db.tables.columns import SCHEMA, metadata
from segwatch.db.tables.events import event, event_name
from segwatch.db.tables.imagery import rejected_item, scene, scene_item
from segwatch.db.tables.operations import access_token, circuit, mutex, run
from segwatch.db.tables.results import (
    change,
    change_judgement,
    detection,
    judgement_evidence,
    observation,
    observation_chip,
    review,
    seen_ground,
    series,
    series_counts,
    track,
    track_lineage,
    track_state,
)
from segwatch.db.tables.second_opinion import (
    change_evidence,
    index_cells,
    shadow_agreement,
    shadow_difference,
    shadow_result,
)
from segwatch.db.tables.watches import area, discovery, instruction, watch, watch_area, watch_head, watermark

__all__ = [
    "SCHEMA",
    "access_token",
    "alert",
    "alert_correction",
    "alert_mark",
    "area",
    "assessment",
    "assessment_label",
    "assessment_sample",
    "assessment_stratum",
    "calibration",
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
    "index_cells",
    "instruction",
    "judgement_evidence",
    "metadata",
    "mutex",
    "observation",
    "observation_chip",
    "rejected_item",
    "review",
    "run",
    "scene",
    "scene_item",
    "seen_ground",
    "series",
    "series_counts",
    "shadow_agreement",
    "shadow_difference",
    "shadow_result",
    "target_accuracy",
    "track",
    "track_lineage",
    "track_state",
    "watch",
    "watch_area",
    "watch_head",
    "watermark",
]
