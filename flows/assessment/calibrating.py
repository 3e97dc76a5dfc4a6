"""Fit the confidence of a watch's objects and changes to what people saw."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from segwatch.db import assessments, calibrations, watches
from segwatch.geo.assessment.calibration import fit_calibration
from segwatch.geo.types.assessment import Calibration


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted for the objects or the changes of one target."""

    target: str
    subject: str
    """``object`` or ``change``."""
    judged: int
    """Labels and reviews with a confidence."""
    calibration: Calibration | None
    """None if there are too few, or all are alike."""
    stored: bool
    """Whether it became a new version."""


def calibrate(engine: Engine, watch: str) -> list[Fitted]:
    """Fit and store a calibration for each target of a watch's series in force, for objects and for changes.

    Raises
    ------
    segwatch.db.errors.NotFound
        There is no such watch, or it has no observed scene.
    """
    made = []
    with engine.begin() as conn:
        watches.require(conn, watch)
        series = assessments.load_series(conn, watch)
        for target in series.targets:
            for subject in calibrations.SUBJECTS:
                judged = calibrations.list_judged(conn, series.series_id, target, subject)
                found = fit_calibration(judged)
                stored = found is not None and calibrations.add(
                    conn, series.series_id, target, subject, found
                )
                made.append(Fitted(target, subject, len(judged), found, stored))
    return made
