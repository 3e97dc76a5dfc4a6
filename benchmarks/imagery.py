"""Imagery: scenes of growing size through reading, answering and polygons, and masks into polygons beside others."""

from __future__ import annotations

from segwatch.benchmarks import imagery_polygons, imagery_scenes


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Figures of :mod:`segwatch.benchmarks.imagery_scenes` and :mod:`segwatch.benchmarks.imagery_polygons`."""
    del device  # the model is a threshold: what is measured is everything around it
    return imagery_scenes.run(quick=quick) | imagery_polygons.run(quick=quick)
