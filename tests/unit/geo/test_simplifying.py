"""Simplified outlines: fewer vertices, shared borders shared, no edge moved by more than half a pixel."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from segwatch.geo.polygons import Tracer
from segwatch.geo.simplifying import simplified

SIDE = 24


def traced(mask: NDArray[np.bool_]) -> list[BaseGeometry]:
    tracer = Tracer(mask.shape[1])
    return [one.outline for one in [*tracer.add(mask), *tracer.end()]]


@given(arrays(np.uint8, (SIDE, SIDE), elements=st.integers(0, 2)), st.sampled_from([0.0, 1.0, 2.0]))
@settings(max_examples=80, deadline=None)
def test_a_partition_stays_one(noise: NDArray[np.uint8], smooth: float) -> None:
    """Three classes that fill the grid: no gap, no overlap, nothing moved by more than half a pixel."""
    blurred = [ndimage.gaussian_filter((noise == kind).astype(float), smooth) for kind in range(3)]
    classes = np.argmax(blurred, axis=0)
    outlines = [one for kind in range(3) for one in traced(classes == kind)]
    made = simplified(outlines)
    assert len(made) == len(outlines)
    for before, after in zip(outlines, made, strict=True):
        assert after.is_valid
        assert shapely.hausdorff_distance(before.boundary, after.boundary, densify=0.2) <= 0.5
    together = shapely.union_all(made)
    assert shapely.area(made).sum() == pytest.approx(together.area)
    assert sum(len(part.interiors) for part in shapely.get_parts(together)) == 0
    assert together.area == pytest.approx(SIDE * SIDE, abs=1)  # the grid's own corners are cut, too


@given(arrays(np.bool_, (SIDE, SIDE)), arrays(np.bool_, (SIDE, SIDE)))
@settings(max_examples=60, deadline=None)
def test_outlines_that_overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> None:
    outlines = [*traced(one), *traced(other)]
    made = simplified(outlines)
    for before, after in zip(outlines, made, strict=True):
        assert after.is_valid
        assert shapely.hausdorff_distance(before.boundary, after.boundary, densify=0.2) <= 0.5


def test_a_disc_loses_a_third_of_its_vertices() -> None:
    rows, cols = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (cols - 100) ** 2 < 80**2
    (before,) = traced(disc)
    (after,) = simplified([before])
    assert shapely.get_num_coordinates(after) < 0.66 * shapely.get_num_coordinates(before)
    assert after.area == pytest.approx(before.area, rel=0.01)


def test_nothing_is_nothing() -> None:
    assert simplified([]) == []
