"""Tracking: quality on simulated worlds, and cost over a growing history."""

from __future__ import annotations

from segwatch.benchmarks import tracking_quality, tracking_scale


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure :mod:`segwatch.benchmarks.tracking_quality` and :mod:`segwatch.benchmarks.tracking_scale`, on the CPU."""
    del device
    return tracking_quality.run(quick=quick) | tracking_scale.run(quick=quick)
