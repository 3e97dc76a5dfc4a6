"""Accuracy of the map, from the labels of its newest assessment: read by reports, the map and the command line alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.geo.assessment.estimators import assess_target
from segwatch.geo.types.assessment import Accuracy, Calibration, StratumCounts, Unit, from_json

#: The newest assessment of the series in force that has a label; without labels, the newest one.
_COUNTS = text(
    """
    WITH newest AS (
        SELECT a.assessment_id FROM watch.assessments a WHERE a.watch = :watch AND a.is_current
        GROUP BY a.assessment_id, a.ordinal
        ORDER BY sum(a.correct + a.wrong) > 0 DESC, a.ordinal DESC LIMIT 1)
    SELECT a.assessment_id, a.drawn_at, a.target, a.stratum, a.unit, a.size, a.area_m2, a.samples, a.correct, a.wrong,
           a.unclear
    FROM watch.assessments a JOIN newest n ON n.assessment_id = a.assessment_id ORDER BY a.target, a.stratum
    """
)
_STRATA = text(
    """
    SELECT assessment_id, drawn_at, seed, target, stratum, unit, size, area_m2, samples, correct, wrong, unclear,
           labelled_at
    FROM watch.assessments WHERE watch = :watch AND is_current ORDER BY ordinal, target, stratum
    """
)
_CALIBRATIONS = text(
    """
    SELECT target, subject, version, fitted_at, labels, raw, calibrated, bins_before, bins_after, error_before,
           error_after
    FROM watch.calibrations WHERE watch = :watch AND is_current ORDER BY target, subject
    """
)


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
    rows = conn.execute(_COUNTS, {"watch": watch}).all()
    if not rows:
        return Accuracy(watch, None, None, ())
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
    return Accuracy(watch, rows[0].assessment_id, rows[0].drawn_at, targets)


def list_strata(conn: Connection, watch: str) -> Rows:
    """List the strata of every assessment of the series in force, with their counts of labels."""
    return fetch_rows(conn, _STRATA, watch=watch)


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
