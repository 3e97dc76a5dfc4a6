"""Store the accuracy that an assessment gives so far, so that views show it beside every object, change and alert."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db import analyst
from segwatch.geo.types.assessment import TargetAccuracy

_ESTIMATES = ("users", "producers", "overall", "area_m2", "objects", "changes")
_SAVE = text(
    """
    INSERT INTO segwatch.target_accuracy (assessment_id, target, labels, words, estimates)
    VALUES (:assessment_id, :target, :labels, :words, CAST(:estimates AS jsonb))
    ON CONFLICT (assessment_id, target) DO UPDATE
    SET labels = excluded.labels, words = excluded.words, estimates = excluded.estimates
    """
)
_MISSING = text(
    """
    SELECT DISTINCT p.assessment_id FROM segwatch.assessment_sample p
    JOIN segwatch.assessment_label l ON l.sample_id = p.id
    WHERE NOT EXISTS (SELECT 1 FROM segwatch.target_accuracy a WHERE a.assessment_id = p.assessment_id)
    ORDER BY p.assessment_id
    """
)


def save(conn: Connection, assessment_ids: Collection[UUID]) -> None:
    """Store the accuracy of every target of some assessments, from their labels so far."""
    for assessment_id in sorted(assessment_ids):
        found = analyst.estimate_assessment(conn, assessment_id)
        rows = [
            {
                "assessment_id": assessment_id,
                "target": one.target,
                "labels": one.labels,
                "words": analyst.describe_target(found, one),
                "estimates": json.dumps(_to_json(one)),
            }
            for one in found.targets
        ]
        if rows:
            conn.execute(_SAVE, rows)


def save_missing(conn: Connection) -> None:
    """Store the accuracy of assessments that an earlier version labelled."""
    save(conn, list(conn.execute(_MISSING).scalars()))


def _to_json(target: TargetAccuracy) -> dict[str, Any]:
    named = {name: getattr(target, name) for name in _ESTIMATES}
    estimates = {
        name: {"value": one.value, "low": one.low, "high": one.high}
        for name, one in named.items()
        if one is not None
    }
    return {**estimates, "mapped_m2": target.mapped_m2}
