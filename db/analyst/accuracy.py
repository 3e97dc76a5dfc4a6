"""Accuracy of the map, from the labels of its newest assessment; what reports, map and command line show of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.db.errors import NotFound
from segwatch.geo.assessment.estimators import MIN_LABELS, assess_target
from segwatch.geo.types.assessment import (
    Accuracy,
    Calibration,
    StratumCounts,
    TargetAccuracy,
    Unit,
    from_json,
)

#: The newest assessment of the series in force that has a label; without labels, the newest one.
_NEWEST = text(
    """
    SELECT a.assessment_id FROM watch.assessments a WHERE a.watch = :watch AND a.is_current
    GROUP BY a.assessment_id, a.ordinal
    ORDER BY sum(a.correct + a.wrong) > 0 DESC, a.ordinal DESC LIMIT 1
    """
)
_MODEL = text("SELECT is_demonstration FROM watch.watches WHERE watch = :watch")
_COUNTS = text(
    """
    SELECT a.watch, a.drawn_at, a.target, a.stratum, a.unit, a.size, a.area_m2, a.samples, a.correct, a.wrong, a.unclear
    FROM watch.assessments a WHERE a.assessment_id = :id ORDER BY a.target, a.stratum
    """
)
_STRATA = text(
    """
    SELECT assessment_id, drawn_at, seed, target, stratum, unit, size, area_m2, samples, correct, wrong, unclear,
           labelled_at
    FROM watch.assessments WHERE watch = :watch AND is_current ORDER BY ordinal, target, stratum
    """
)
_SMALL = text(
    """
    SELECT a.target, a.stratum, a.size FROM watch.assessments a
    WHERE a.watch = :watch AND a.is_current AND a.unit <> 'point' AND a.size > 0 AND a.size < :least
      AND a.ordinal = (SELECT max(n.ordinal) FROM watch.assessments n WHERE n.watch = :watch AND n.is_current)
    ORDER BY a.target, a.stratum
    """
)
_CALIBRATIONS = text(
    """
    SELECT target, subject, version, fitted_at, labels, raw, calibrated, bins_before, bins_after, error_before,
           error_after
    FROM watch.calibrations WHERE watch = :watch AND is_current ORDER BY target, subject
    """
)


NOT_ASSESSED = "not assessed"
DEMONSTRATION = "demonstration model"


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """A calibration in force."""

    target: str
    subject: str
    """``object`` or ``change``."""
    version: int
    fitted_at: datetime
    calibration: Calibration


def read_accuracy(conn: Connection, watch: str) -> Accuracy:
    """Estimate the accuracy of a watch's map and the true areas of its targets, from its newest labelled assessment."""
    newest = conn.execute(_NEWEST, {"watch": watch}).scalar_one_or_none()
    found = Accuracy(watch, None, None, ()) if newest is None else estimate_assessment(conn, newest)
    return replace(found, is_demonstration=bool(conn.execute(_MODEL, {"watch": watch}).scalar_one_or_none()))


def estimate_assessment(conn: Connection, assessment_id: UUID) -> Accuracy:
    """Estimate accuracy and areas from the labels that one assessment has so far.

    Raises
    ------
    segwatch.db.errors.NotFound
        The reader sees no such assessment.
    """
    rows = conn.execute(_COUNTS, {"id": assessment_id}).all()
    if not rows:
        raise NotFound(f"there is no assessment {assessment_id}")
    strata = [
        StratumCounts(
            row.target, row.stratum, Unit(row.unit), row.size, row.area_m2, row.samples, row.correct, row.wrong,
            row.unclear,
        )
        for row in rows
    ]  # fmt: skip
    targets = tuple(
        assess_target(target, list(ours)) for target, ours in groupby(strata, lambda one: one.target)
    )
    return Accuracy(rows[0].watch, assessment_id, rows[0].drawn_at, targets)


def describe_accuracy(accuracy: Accuracy) -> list[str]:
    """Describe the accuracy in words, one line per target, as it stands beside every area that leaves the system."""
    if not accuracy.targets:
        return [_mark(accuracy, NOT_ASSESSED)]
    return [f"{one.target}: {describe_target(accuracy, one)}" for one in accuracy.targets]


def describe_target(accuracy: Accuracy, target: TargetAccuracy | None) -> str:
    """Describe the accuracy of one target's map; None: a target that was not in the sample."""
    return _mark(accuracy, _describe_estimates(accuracy, target))


def _mark(accuracy: Accuracy, words: str) -> str:
    """Begin with what the shipped model is, as ``segwatch.describe_accuracy`` does in SQL."""
    return f"{DEMONSTRATION}, {words}" if accuracy.is_demonstration else words


def _describe_estimates(accuracy: Accuracy, target: TargetAccuracy | None) -> str:
    if target is None or accuracy.drawn_at is None or target.labels == 0:
        return NOT_ASSESSED
    of = "" if target.labels == target.samples else f" of {target.samples} samples"
    began = f"assessed on {accuracy.drawn_at:%Y-%m-%d} with {target.labels} labels{of}"
    shares = {
        "user's accuracy": target.users,
        "producer's accuracy": target.producers,
        "objects that are there": target.objects,
        "changes that happened": target.changes,
    }
    parts = [
        f"{name} {one.value:.2f} ({one.low:.2f}-{one.high:.2f})"
        for name, one in shares.items()
        if one is not None
    ]
    area = target.area_m2
    if area is not None:
        parts.append(
            f"area {area.value / 1e4:.2f} ha ({area.low / 1e4:.2f}-{area.high / 1e4:.2f}), "
            f"mapped {target.mapped_m2 / 1e4:.2f} ha"
        )
    return f"{began}: {', '.join(parts) or 'too few for an estimate'}"


def list_strata(conn: Connection, watch: str) -> Rows:
    """List the strata of every assessment of the series in force, with their counts of labels."""
    return fetch_rows(conn, _STRATA, watch=watch)


def list_small_strata(conn: Connection, watch: str) -> Rows:
    """List target, stratum and size of the newest assessment's objects and changes that are fewer than 10.

    All of them are samples, so that an estimate comes from fewer labels than other strata need.
    """
    return fetch_rows(conn, _SMALL, watch=watch, least=MIN_LABELS)


def list_calibrations(conn: Connection, watch: str) -> list[StoredCalibration]:
    """List the calibrations of a watch that are in force."""
    return [
        StoredCalibration(
            row.target,
            row.subject,
            row.version,
            row.fitted_at,
            Calibration(
                tuple(row.raw),
                tuple(row.calibrated),
                row.labels,
                from_json(row.bins_before),
                from_json(row.bins_after),
                row.error_before,
                row.error_after,
            ),
        )
        for row in conn.execute(_CALIBRATIONS, {"watch": watch})
    ]
