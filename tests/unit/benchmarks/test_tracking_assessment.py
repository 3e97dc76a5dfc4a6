"""The 95 % intervals of an assessment hold what they promise."""

from __future__ import annotations

from statistics import fmean

from segwatch.benchmarks.tracking_assessment import NAMES, measure_coverage


def test_intervals_cover_the_truth_in_95_of_100_samples() -> None:
    found = measure_coverage(4000, seed=11)
    assert set(found) == set(NAMES)
    assert all(0.93 <= one <= 0.97 for one in found.values()), found
    assert 0.94 <= fmean(found.values()) <= 0.96
