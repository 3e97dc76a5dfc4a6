"""Objects near the minimum size of a polygon come and go with their area, and no such change is confirmed."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from shapely.geometry import Polygon, box

from segwatch.benchmarks.tracking_worlds import ORIGIN, SERIES
from segwatch.geo.tracking.series import FoldInput, fold_series
from segwatch.geo.types.belief import BeliefStatus
from segwatch.geo.types.tracking import TrackingStep
from tests.support.tracked_fields import SETTINGS, observe

LOOKS, SIDE, APART_M = 12, 4, 450
WHOLE = box(-100, -100, SIDE * APART_M, SIDE * APART_M)


def fold_ponds(
    shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]], min_m2: float
) -> list[TrackingStep]:
    """Fold looks at ponds of (looks, ponds) shares of the minimum; smaller ones are dropped, as from a mask."""
    corners = [(east * APART_M, north * APART_M) for east, north in product(range(SIDE), repeat=2)]
    inputs = []
    for number, look in enumerate(shares):
        ponds: list[Polygon] = []
        for (east, north), share in zip(corners, look, strict=True):
            side = math.sqrt(share * min_m2)
            if share >= 1:
                ponds.append(box(east - side / 2, north - side / 2, east + side / 2, north + side / 2))
        inputs.append(
            FoldInput(observe(number, *ponds, clear=WHOLE), SETTINGS, first=not number, min_polygon_m2=min_m2)
        )
    return fold_series([], inputs, series_id=SERIES, origin=ORIGIN)


@pytest.mark.parametrize("min_m2", [1_000.0, 40_000.0])
def test_objects_that_drift_around_the_minimum_confirm_nothing(min_m2: float) -> None:
    """Slowly, so that misses and detections follow each other; small and large against a pixel of 10 m."""
    phases = np.linspace(0, 2 * np.pi, SIDE**2, endpoint=False)
    times = np.arange(LOOKS)[:, None]
    for period in (4, 8):
        steps = fold_ponds(1 + 0.15 * np.sin(2 * np.pi * times / period + phases), min_m2)
        raised = sum(not change.baseline for step in steps for change in step.changes)
        assert raised >= SIDE**2, "they come and go"
        confirmed = [
            one.kind
            for step in steps
            for one in step.judgements
            if one.belief.status is BeliefStatus.CONFIRMED
        ]
        assert confirmed == [], period


def test_objects_well_above_the_minimum_that_go_are_confirmed() -> None:
    shares = np.full((LOOKS, SIDE**2), 1.6)
    shares[6:, 3] = 0.0
    found = [
        (one.kind, one.belief.status) for step in fold_ponds(shares, 40_000.0) for one in step.judgements
    ]
    assert ("disappeared", BeliefStatus.CONFIRMED) in found
