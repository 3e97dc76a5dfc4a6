"""Tracking: its quality on made worlds, and its cost over a growing history."""

from __future__ import annotations

from segwatch.benchmarks import tracking_scale


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Figures of :mod:`segwatch.benchmarks.tracking_scale`; nothing here runs on a GPU."""
    del device
    return tracking_scale.run(quick=quick)
