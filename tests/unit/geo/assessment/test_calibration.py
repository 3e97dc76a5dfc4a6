"""Isotonic calibration of the confidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwatch.geo.assessment.calibration import MIN_JUDGED, apply_calibration, fit_calibration
from segwatch.geo.types.assessment import Judged, from_json, to_json


def judge(count: int, seed: int = 0, power: float = 2.0) -> list[Judged]:
    """Judgements of an overconfident system: what it believes with p is true with p ** power."""
    random = np.random.default_rng(seed)
    confidences = random.random(count)
    return [
        Judged(float(one), bool(random.random() < one**power), float(weight))
        for one, weight in zip(confidences, random.choice([1.0, 5.0], count), strict=True)
    ]


def test_an_overconfident_system_is_corrected() -> None:
    found = fit_calibration(judge(2000))
    assert found is not None
    assert found.error_before > 0.12
    assert found.error_after < 0.05
    for raw in (0.3, 0.5, 0.7, 0.9):
        assert apply_calibration(found, raw) == pytest.approx(raw**2, abs=0.1)


def test_few_or_uniform_judgements_calibrate_nothing() -> None:
    assert fit_calibration([]) is None
    assert fit_calibration(judge(MIN_JUDGED - 1)) is None
    assert fit_calibration([Judged(one / 100, True) for one in range(100)]) is None


def test_weights_count_as_repetitions() -> None:
    judged = judge(60)
    repeated = [Judged(one.confidence, one.true) for one in judged for _ in range(int(one.weight))]
    weighted, plain = fit_calibration(judged), fit_calibration(repeated)
    assert weighted is not None
    assert plain is not None
    assert weighted.raw == pytest.approx(plain.raw)
    assert weighted.calibrated == pytest.approx(plain.calibrated)
    assert weighted.error_before == pytest.approx(plain.error_before)


@pytest.mark.parametrize("second", [5e-324, 1e-310, 1e-12, 1e-6])
def test_confidences_next_to_each_other_calibrate_to_a_number(second: float) -> None:
    rows = [(0.0, False)] * (MIN_JUDGED - 2) + [(second, True)] * 2
    found = fit_calibration([Judged(confidence, true) for confidence, true in rows])
    assert found is not None
    assert np.isfinite([*found.raw, *found.calibrated, found.error_before, found.error_after]).all()
    for confidence in (0.0, second / 2, second, 0.25, 1.0):
        assert 0 <= apply_calibration(found, confidence) <= 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=MIN_JUDGED, max_size=60))
def test_a_calibration_never_decreases(rows: list[tuple[float, bool]]) -> None:
    found = fit_calibration([Judged(confidence, true) for confidence, true in rows])
    if found is None:
        return
    assert list(found.raw) == sorted(set(found.raw))
    assert list(found.calibrated) == sorted(found.calibrated)
    assert min(found.calibrated) >= 0
    assert max(found.calibrated) <= 1
    assert sum(one.weight for one in found.bins_before) == pytest.approx(1)
    assert from_json(to_json(found.bins_after)) == found.bins_after
