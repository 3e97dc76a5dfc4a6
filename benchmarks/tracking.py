"""Tracking: its quality on made worlds, and its cost over a growing history."""

from __future__ import annotations

from segwatch.benchmarks import tracking_quality, tracking_scale


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Figures of :mod:`segwatch.benchmarks.tracking_quality` and :mod:`segwatch.benchmarks.tracking_scale`.

    Nothing here runs on a GPU; ``device`` is what every benchmark takes.
    """
    del device
    return tracking_quality.run(quick=quick) | tracking_scale.run(quick=quick)
