"""One object as the panel of the map shows it at a time: how sure it is, its last change, and independent evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import fetch_rows
from segwatch.db.errors import NotFound

#: The newest knowledge of the state at a time. A calibration holds for the series that it was fitted to.
_STATE = text(
    """
    SELECT h.track_id, h.watch, h.target, h.confidence, h.status, h.observations_for, h.observations_against,
           EXISTS (SELECT 1 FROM watch.objects_now n WHERE n.watch = h.watch AND n.model = h.model
                   AND n.instruction_revision = h.instruction_revision) AS is_current_series
    FROM watch.object_history h
    WHERE h.track_id = :track_id AND h.valid_from <= CAST(:at AS timestamptz) AND h.recorded_to IS NULL
    ORDER BY h.valid_from DESC, h.recorded_from DESC LIMIT 1
    """
)
#: The order of changes of one time is that of watch.objects_now.
_LAST_CHANGE = text(
    """
    SELECT c.change_id, c.kind, c.valid_at, c.confidence, c.confidence_calibrated, c.status, c.observations_for,
           c.observations_against, c.evidence
    FROM watch.changes c
    WHERE c.track_id = :track_id AND c.valid_at <= CAST(:at AS timestamptz) AND c.retracted_at IS NULL
      AND NOT c.baseline AND c.status IS DISTINCT FROM 'refuted'
    ORDER BY c.valid_at DESC, array_position(ARRAY['disappeared', 'reappeared', 'appeared', 'merged', 'split', 'moved',
                                                   'grew', 'shrank'], c.kind), c.change_id LIMIT 1
    """
)
#: The newest detection of an object up to a time, the largest of its scene.
_DETECTION = text(
    """
    SELECT d.acquired_at, d.evidence, d.shadow_share, d.shadow_iou, s.shadow, s.reason AS shadow_reason
    FROM watch.detections d
    LEFT JOIN LATERAL (
        SELECT c.shadow, c.reason FROM watch.shadow_comparisons c
        WHERE c.observation_id = d.observation_id LIMIT 1) s ON true
    WHERE d.track_id = :track_id AND d.acquired_at <= CAST(:at AS timestamptz)
    ORDER BY d.acquired_at DESC, d.scene_id DESC, d.area_m2 DESC LIMIT 1
    """
)


@dataclass(frozen=True, slots=True)
class ObjectPanel:
    """An object at a time."""

    state: dict[str, Any]
    """Ids, raw belief, and ``is_current_series``: whether the calibrations in force are about it."""
    last_change: dict[str, Any] | None
    """The latest change until then that is neither refuted nor retracted; None = it did not change."""
    detection: dict[str, Any] | None
    """Its newest detection until then: ``acquired_at``, spectral ``evidence``, and the shadow segmenter's agreement
    (``shadow``, ``shadow_share``, ``shadow_iou``, and ``shadow_reason`` where it has none); None = not found until
    then."""


def read_object_panel(conn: Connection, track_id: UUID, at: str) -> ObjectPanel:
    """Read an object as it was at a time, as known now.

    ``at`` is a time as PostgreSQL reads it, such as one in RFC 3339.

    Raises
    ------
    segwatch.db.errors.NotFound
        The reader sees no such object at that time.
    """
    values = {"track_id": track_id, "at": at}
    states = fetch_rows(conn, _STATE, **values)
    if not states:
        raise NotFound(f"there was no object {track_id} at {at}; watch.object_history lists objects")
    changes, detections = fetch_rows(conn, _LAST_CHANGE, **values), fetch_rows(conn, _DETECTION, **values)
    return ObjectPanel(states[0], changes[0] if changes else None, detections[0] if detections else None)
