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
from segwatch.geo.simplifying import simplify_outlines

SIDE = 24


def traced(mask: NDArray[np.bool_]) -> list[BaseGeometry]:
    tracer = Tracer(mask.shape[1])
    return [one.outline for one in [*tracer.add(mask), *tracer.end()]]


@given(
    arrays(np.uint8, (SIDE, SIDE), elements=st.integers(0, 2)),
    st.sampled_from([0.0, 1.0, 2.0]),
    st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_a_partition_stays_one(noise: NDArray[np.uint8], blur: float, smooth: bool) -> None:
    """Three classes that fill the grid: no gap, no overlap, nothing moved by more than half a pixel."""
    blurred = [ndimage.gaussian_filter((noise == kind).astype(float), blur) for kind in range(3)]
    classes = np.argmax(blurred, axis=0)
    outlines = [one for kind in range(3) for one in traced(classes == kind)]
    made = simplify_outlines(outlines, smooth=smooth)
    assert len(made) == len(outlines)
    for before, after in zip(outlines, made, strict=True):
        assert after.is_valid
        assert shapely.hausdorff_distance(before.boundary, after.boundary, densify=0.2) <= 0.5
    together = shapely.union_all(made)
    assert shapely.area(made).sum() == pytest.approx(together.area)
    assert sum(len(part.interiors) for part in shapely.get_parts(together)) == 0
    # the grid's own corners are cut, too
    assert together.area == pytest.approx(SIDE * SIDE, abs=3 if smooth else 1)


@given(arrays(np.bool_, (SIDE, SIDE)), arrays(np.bool_, (SIDE, SIDE)), st.booleans())
@settings(max_examples=80, deadline=None)
def test_outlines_that_overlap(one: NDArray[np.bool_], other: NDArray[np.bool_], smooth: bool) -> None:
    outlines = [*traced(one), *traced(other)]
    made = simplify_outlines(outlines, smooth=smooth)
    for before, after in zip(outlines, made, strict=True):
        assert after.is_valid
        assert shapely.hausdorff_distance(before.boundary, after.boundary, densify=0.2) <= 0.5


def test_a_disc_loses_a_third_of_its_vertices() -> None:
    rows, cols = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (cols - 100) ** 2 < 80**2
    (before,) = traced(disc)
    (after,) = simplify_outlines([before])
    assert shapely.get_num_coordinates(after) < 0.66 * shapely.get_num_coordinates(before)
    assert after.area == pytest.approx(before.area, rel=0.01)


def test_a_smooth_disc_turns_less_than_a_simple_one() -> None:
    """Its border's changes of direction, summed: 360 degrees would be a circle's."""
    rows, cols = np.mgrid[:200, :200]
    (before,) = traced((rows - 100) ** 2 + (cols - 100) ** 2 < 80**2)
    simple, smooth = (_turning(simplify_outlines([before], smooth=smooth)[0]) for smooth in (False, True))
    assert smooth < 0.7 * simple < 0.3 * _turning(before)


def _turning(outline: BaseGeometry) -> float:
    ways = np.diff(shapely.get_coordinates(shapely.get_exterior_ring(outline)), axis=0)
    directions = np.degrees(np.arctan2(ways[:, 1], ways[:, 0]))
    turns = (np.diff(directions, append=directions[:1]) + 180) % 360 - 180
    return float(np.abs(turns).sum())


def test_nothing_is_nothing() -> None:
    assert simplify_outlines([]) == []
