"""Folding is exact: an observation's step depends on the observations before it, not on how much of them is at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid5

import shapely
import shapely.affinity
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from segwatch.benchmarks.tracking_worlds import ORIGIN, SERIES, Noise, look, make
from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.tracking.series import FoldInput, fold_series
from segwatch.geo.types.tracking import TrackedObservation, TrackingStep
from segwatch.geo.types.watch import TrackingSettings
from tests.support.remembered_series import fold_loaded
from tests.support.tracked_fields import SETTINGS, observe

#: Rectangles of cells and footprints; the cells are wider than an observation reaches beyond its footprint, metres.
_CELL = 600.0
_SHAPES = [
    (1, 1, 4, 4), (1, 1, 5, 4), (1, 1, 3, 4), (4, 1, 6, 4), (1, 1, 6, 4), (2, 5, 4, 7), (5, 5, 7, 7), (2, 5, 7, 7),
    (6, 2, 7, 3), (0, 3, 8, 4), (3.2, 4.1, 3.6, 4.5),
]  # fmt: skip
_EVERYTHING = box(0, 0, 8, 8)
_VIEWS = [
    _EVERYTHING, box(0, 0, 4, 8), box(3, 0, 8, 8), box(0, 0, 8, 4.5), box(0, 2, 8, 8),
    shapely.union(box(0, 0, 3, 8), box(0, 0, 8, 2)), _EVERYTHING.difference(box(3, 3, 5.5, 6)),
]  # fmt: skip

looks = st.tuples(st.sets(st.integers(0, len(_SHAPES) - 1), max_size=5), st.integers(0, len(_VIEWS) - 1))


def _observe(number: int, shapes: set[int], view: int) -> TrackedObservation:
    clear = shapely.affinity.scale(_VIEWS[view], _CELL, _CELL, origin=(4, 4))
    united = shapely.union_all([box(*_SHAPES[index]) for index in sorted(shapes)])
    visible = shapely.affinity.scale(united, _CELL, _CELL, origin=(4, 4)).intersection(clear)
    return observe(number, *extract_polygons(visible), clear=clear)


def _assert_folds_alike(inputs: list[FoldInput], again: int) -> None:
    """Compare folding everything at once with folding one by one, and with folding again from one scene on."""
    steps = fold_series([], inputs, series_id=SERIES, origin=ORIGIN)

    def load(start: int, stop: int) -> list[TrackingStep]:
        return fold_loaded(inputs, steps, start, stop, series_id=SERIES, origin=ORIGIN)

    for start in range(1, len(inputs)):
        (found,) = load(start, start + 1)
        for part in ("judgements", "counts", "changes", "states"):
            assert getattr(found, part) == getattr(steps[start], part), (start, part)
        assert found == steps[start], start
    start = 1 + again % (len(inputs) - 1)
    assert load(start, len(inputs)) == steps[start:], start


@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
# the core of an object that one scene shows by a corner lies beyond the scene's footprint
@example([({1, 7}, 0), ({6}, 2), (set(), 0), (set(), 2), ({2, 7}, 1), ({1, 7}, 0)], 3, 0)
@given(st.lists(looks, min_size=3, max_size=8), st.integers(1, 3), st.integers(0, 7))
def test_a_scene_is_folded_alike_however_much_of_its_series_is_loaded(
    world: list[Any], gone_after: int, again: int
) -> None:
    chosen = TrackingSettings(gone_after=gone_after)
    _assert_folds_alike(
        [FoldInput(_observe(number, *one), chosen, first=not number) for number, one in enumerate(world)],
        again,
    )


@settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 2**31), st.lists(st.integers(0, 6), min_size=12, max_size=12), st.floats(0, 0.6))
def test_scenes_of_parts_of_a_displaced_world_are_folded_alike(
    seed: int, windows: list[int], cloud: float
) -> None:
    world = make(seed, scenes=len(windows), rows=2, columns=2)
    views = look(world, replace(Noise(missed=0.2, false=0.3, jitter_px=2), cloud=cloud), seed)
    inputs = []
    for number, (view, window) in enumerate(zip(views, windows, strict=True)):
        shown = _clip(view.observation, _VIEWS[window], number)
        inputs.append(FoldInput(shown, SETTINGS, first=not number, min_polygon_m2=200.0))
    _assert_folds_alike(inputs, seed)


def _clip(observation: TrackedObservation, window: BaseGeometry, number: int) -> TrackedObservation:
    """Clip an observation to a window of an eight by eight grid over its footprint."""
    west, south, east, north = observation.footprint.bounds
    placed = shapely.transform(window, lambda xy: xy / 8 * (east - west, north - south) + (west, south))
    found = [
        replace(one, geometry=part, area_m2=compute_area_m2(part))
        for one in observation.detections
        for part in extract_polygons(one.geometry.intersection(placed))
    ]
    return replace(
        observation,
        id=uuid5(SERIES, f"clipped {number}"),
        footprint=observation.footprint.intersection(placed),
        detections=tuple(found),
    )
