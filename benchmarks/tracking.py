"""Tracking: quality on simulated worlds, cost over a growing history, and coverage of an assessment's intervals."""

from __future__ import annotations

from segwatch.benchmarks import tracking_assessment, tracking_quality, tracking_scale


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure the modules ``tracking_quality``, ``tracking_scale`` and ``tracking_assessment``, on the CPU."""
    del device
    figures = tracking_quality.run(quick=quick) | tracking_scale.run(quick=quick)
    return figures | tracking_assessment.run(quick=quick)
