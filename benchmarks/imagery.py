"""Imagery: read, predict and polygonise scenes of growing size, and polygonise masks in several ways."""

from __future__ import annotations

from segwatch.benchmarks import imagery_polygons, imagery_scenes


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure :mod:`segwatch.benchmarks.imagery_scenes` and :mod:`segwatch.benchmarks.imagery_polygons`."""
    del device  # the model is a threshold: everything around it is measured
    return imagery_scenes.run(quick=quick) | imagery_polygons.run(quick=quick)
