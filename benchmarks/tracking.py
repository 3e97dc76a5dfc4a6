"""Tracking: quality on simulated worlds, false changes of unchanged ground, cost over a history, assessments."""

from __future__ import annotations

from segwatch.benchmarks import tracking_assessment, tracking_invariance, tracking_quality, tracking_scale


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure quality, invariance, scale and assessment, each in the module ``segwatch.benchmarks.tracking_NAME``."""
    del device  # all on the CPU
    return (
        tracking_quality.run(quick=quick)
        | tracking_invariance.run(quick=quick)
        | tracking_scale.run(quick=quick)
        | tracking_assessment.run(quick=quick)
    )
