"""Calibrations of the confidence: what they are fitted to, and their versions."""

from __future__ import annotations

import json
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.geo.types.assessment import Calibration, Judged, to_json

OBJECT, CHANGE = "object", "change"
SUBJECTS = (OBJECT, CHANGE)

#: Labels of objects and changes that had a confidence when they were drawn, each with the number of units that it
#: stands for; and reviews of objects without such a label, which stand for themselves. What several assessments drew
#: counts once, with its newest label.
_JUDGED = text(
    """
    WITH labelled AS (
        SELECT DISTINCT ON (p.track_id, p.change_id)
               CASE WHEN p.change_id IS NULL THEN 'object' ELSE 'change' END AS subject, p.track_id, p.confidence,
               (l.label = ANY (p.agreeing)) <> (p.stratum = 'refuted') AS is_true, 1 / p.probability AS weight
        FROM segwatch.assessment_sample p
        JOIN segwatch.assessment a ON a.id = p.assessment_id
        JOIN segwatch.current_label l ON l.sample_id = p.id AND l.label <> 'unclear'
        WHERE a.series_id = :series_id AND p.target = :target AND p.confidence IS NOT NULL
          AND (p.change_id IS NOT NULL OR p.stratum = 'object')
        ORDER BY p.track_id, p.change_id, a.ordinal DESC)
    SELECT confidence, is_true, weight FROM labelled WHERE subject = :subject
    UNION ALL
    SELECT t.confidence, v.verdict <> 'rejected', 1.0
    FROM segwatch.verdict v
    JOIN segwatch.track k ON k.id = v.track_id
    JOIN segwatch.track_state t ON t.track_id = v.track_id AND t.valid @> v.looked_at AND upper_inf(t.recorded)
    WHERE :subject = 'object' AND k.series_id = :series_id AND k.target = :target AND t.confidence IS NOT NULL
      AND NOT EXISTS (SELECT FROM labelled l WHERE l.track_id = v.track_id AND l.subject = 'object')
    """
)
_ADD = text(
    """
    INSERT INTO segwatch.calibration (series_id, target, subject, version, labels, raw, calibrated, bins_before,
                                      bins_after, error_before, error_after)
    SELECT :series_id, :target, :subject, coalesce(max(c.version), 0) + 1, :labels, :raw, :calibrated,
           CAST(:bins_before AS jsonb), CAST(:bins_after AS jsonb), :error_before, :error_after
    FROM segwatch.calibration c
    WHERE c.series_id = :series_id AND c.target = :target AND c.subject = :subject
    RETURNING version
    """
)
_LAST = text(
    """
    SELECT labels, raw, calibrated FROM segwatch.current_calibration
    WHERE series_id = :series_id AND target = :target AND subject = :subject
    """
)


def list_judged(conn: Connection, series_id: UUID, target: str, subject: str) -> list[Judged]:
    """List what people judged about the objects or changes of a target, with the raw confidences."""
    values = {"series_id": series_id, "target": target, "subject": subject}
    return [Judged(row.confidence, row.is_true, float(row.weight)) for row in conn.execute(_JUDGED, values)]


def add(conn: Connection, series_id: UUID, target: str, subject: str, made: Calibration) -> bool:
    """Store a calibration as the newest version; False if the newest one is the same."""
    key = {"series_id": series_id, "target": target, "subject": subject}
    last = conn.execute(_LAST, key).one_or_none()
    if last is not None and (last.labels, tuple(last.raw), tuple(last.calibrated)) == (
        made.labels, made.raw, made.calibrated
    ):  # fmt: skip
        return False
    row = {
        "labels": made.labels,
        "raw": list(made.raw),
        "calibrated": list(made.calibrated),
        "bins_before": json.dumps(to_json(made.bins_before)),
        "bins_after": json.dumps(to_json(made.bins_after)),
        "error_before": made.error_before,
        "error_after": made.error_after,
    }
    conn.execute(_ADD, {**key, **row})
    return True
