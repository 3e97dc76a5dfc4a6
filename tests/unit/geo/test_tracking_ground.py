"""Baseline belongs to the ground: first observations are no change, and objects continue across the border.

Shapes are given in metres east and north of an origin and put into EPSG:4326 through the series' projection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.crs import make_local_equal_area, to_lonlat
from segwatch.geo.polygons import clean
from segwatch.geo.tracking import overlay
from segwatch.geo.tracking.ground import ObservedGround
from segwatch.geo.tracking.series import FoldInput, fold_series, inherit_tracks
from segwatch.geo.types.tracking import (
    Change,
    Detection,
    GroundPiece,
    TrackedObservation,
    TrackingStep,
    TrackState,
)
from segwatch.geo.types.watch import TrackingSettings

ORIGIN = (15.0, 46.0)
CRS = make_local_equal_area(ORIGIN)
SERIES = UUID(int=1)
START = datetime(2024, 5, 1, 10, tzinfo=UTC)
WEST, EAST, BOTH = box(-2000, -2000, 0, 2000), box(0, -2000, 2000, 2000), box(-2000, -2000, 2000, 2000)
NUMBERS = TrackingSettings(min_change_m2=500, gone_after=1)

Scene = tuple[Sequence[BaseGeometry], BaseGeometry]


def ground(shape: BaseGeometry) -> BaseGeometry:
    return clean(to_lonlat(shape.segmentize(200), CRS))


def metres(geometry: BaseGeometry) -> BaseGeometry:
    return overlay.project(geometry, CRS)


def make_observations(
    *scenes: Scene, numbers: TrackingSettings = NUMBERS, min_polygon_m2: float = 0.0
) -> list[FoldInput]:
    """Make observations of the objects in each scene, clipped to its footprint."""
    made = []
    for number, (there, footprint) in enumerate(scenes):
        seen = [part for shape in there for part in extract_polygons(shape.intersection(footprint))]
        outlines = [ground(part) for part in seen if part.area > max(1, min_polygon_m2)]
        observation = TrackedObservation(
            uuid5(SERIES, str(number)),
            uuid5(SERIES, f"scene {number}"),
            START + timedelta(days=number),
            ground(footprint),
            tuple(Detection("water", one, 0.9, compute_area_m2(one)) for one in outlines),
        )
        made.append(FoldInput(observation, numbers, first=not number, min_polygon_m2=min_polygon_m2))
    return made


def fold(*scenes: Scene, **more: Any) -> list[TrackingStep]:
    return fold_series([], make_observations(*scenes, **more), series_id=SERIES, origin=ORIGIN)


def states(steps: Sequence[TrackingStep]) -> list[TrackState]:
    known = {state.track_id: state for step in steps for state in step.states}
    return [state for state in known.values() if state.alive]


def reported(steps: Sequence[TrackingStep]) -> list[Change]:
    """Return the changes that are not baseline."""
    return [change for step in steps for change in step.changes if not change.baseline]


def same(one: BaseGeometry, other: BaseGeometry) -> bool:
    return metres(one).symmetric_difference(other).area < 1e-3 * other.area


LAKE = box(-600, 0, 900, 400)
PONDS = (box(-1500, -1500, -1300, -1300), box(1300, 1300, 1500, 1500))


@pytest.mark.parametrize("order", [(WEST, EAST), (EAST, WEST), (WEST, EAST, BOTH), (EAST, BOTH, WEST)])
def test_observing_one_half_then_the_other_is_no_change(order: Sequence[BaseGeometry]) -> None:
    """Two footprints only touch: the lake across their border continues, ponds on either side are baseline."""
    steps = fold(*(((LAKE, *PONDS), footprint) for footprint in order))
    assert reported(steps) == []
    assert [change.kind for step in steps for change in step.changes] == ["appeared"] * 3
    alive = states(steps)
    assert len(alive) == 3
    assert same(max(alive, key=lambda state: state.area_m2).geometry, LAKE)


@pytest.mark.parametrize("gap_m", [-400, -100, -10, -3, 0, 3, 8])
def test_footprints_may_overlap_or_leave_subpixel_gaps(gap_m: float) -> None:
    """Footprints overlap a lot or by part of a pixel, or leave part of a pixel between them."""
    east = box(gap_m, -2000, 2000, 2000)
    steps = fold(((LAKE,), WEST), ((LAKE,), east), ((LAKE,), BOTH), ((LAKE,), BOTH))
    assert reported(steps) == []
    (lake,) = states(steps)
    assert same(lake.geometry, LAKE)


def test_a_later_scene_joins_two_ends_without_a_change() -> None:
    """Both ends are known as two objects; the scene that shows the middle joins them without a change."""
    west, east, middle = box(-2000, -2000, -300, 2000), box(500, -2000, 2000, 2000), box(-350, -50, 550, 2000)
    for last in (middle, BOTH):
        steps = fold(((LAKE,), west), ((LAKE,), east), ((LAKE,), last), ((LAKE,), BOTH))
        assert reported(steps) == []
        (lake,) = states(steps)
        assert same(lake.geometry, LAKE)
        (line,) = steps[2].lineage
        ends = {state.track_id: state for state in steps[2].states}
        assert line.kind == "merged"
        assert ends[line.parent].merged_into == line.child == lake.track_id
        assert set(steps[2].detection_tracks) == {lake.track_id}
        assert ends[line.parent].area_m2 < ends[line.child].area_m2


def test_a_cloudy_first_scene_leaves_the_rest_to_the_next() -> None:
    cloud = box(-200, -2000, 1400, 2000)
    steps = fold(((LAKE, *PONDS), BOTH.difference(cloud)), ((LAKE, *PONDS), BOTH), ((LAKE, *PONDS), BOTH))
    assert reported(steps) == []
    assert len(states(steps)) == 3


def test_only_changes_on_observed_ground_are_reported() -> None:
    """The lake grows in the west while the east is observed for the first time."""
    grown = box(-1000, 0, 900, 400)
    steps = fold(((LAKE,), WEST), ((grown,), BOTH))
    (change,) = steps[1].changes
    assert (change.kind, change.baseline) == ("grew", False)
    assert change.gained is not None
    assert change.lost is None or metres(change.lost).area < 10, "edges cut into other steps bend differently"
    assert same(change.gained, box(-1000, 0, -600, 400))
    assert change.after_m2 - change.before_m2 == pytest.approx(400 * 400, rel=1e-3)
    assert change.after_m2 == states(steps)[0].area_m2


def test_an_object_shrinks_on_observed_ground_and_continues_beyond() -> None:
    steps = fold(((LAKE,), WEST), ((box(-200, 0, 1800, 400),), BOTH))
    (change,) = steps[1].changes
    assert change.kind == "shrank"
    assert change.gained is None or metres(change.gained).area < 10
    assert change.lost is not None
    assert same(change.lost, box(-600, 0, -200, 400))


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (box(-300, 0, 600, 400), True),
        (box(-5, 0, 600, 400), False),
        (box(0, 0, 600, 400), False),
        (box(-400, 0, -1, 400), True),
    ],
    ids=["a third of it on seen ground", "half a pixel of it", "none of it", "all of it"],
)
def test_an_object_across_the_border_appears_on_its_observed_part(there: Polygon, told: bool) -> None:
    steps = fold(((), WEST), ((there,), BOTH))
    (change,) = steps[1].changes
    assert change.kind == "appeared"
    assert change.baseline is not told
    assert change.gained is not None
    assert same(change.gained, there.intersection(WEST) if told else there)
    assert same(states(steps)[0].geometry, there)


def test_an_object_once_below_the_minimum_is_baseline() -> None:
    """Only a tip of the lake was on observed ground, too small to be detected."""
    lake = box(-60, 0, 600, 60)
    steps = fold(((lake,), WEST), ((lake,), BOTH), min_polygon_m2=5000)
    assert reported(steps) == []
    assert len(states(steps)) == 1
    assert [change.baseline for change in fold(((), WEST), ((lake,), BOTH))[1].changes] == [False]


def test_objects_that_meet_on_observed_ground_merge() -> None:
    west, east = box(-1500, 0, -900, 400), box(-700, 0, -100, 400)
    bridge = box(-1500, 0, 900, 400)
    steps = fold(((west, east), WEST), ((bridge,), BOTH))
    assert sorted(change.kind for change in reported(steps)) == ["merged", "merged"]


def test_a_split_reports_only_observed_ground() -> None:
    lake = box(-1500, 0, -100, 400)
    west, east = box(-1500, 0, -900, 400), box(-700, 0, 1500, 400)
    steps = fold(((lake,), WEST), ((west, east), BOTH))
    changes = reported(steps)
    assert sorted(change.kind for change in changes) == ["split", "split"]
    told = shapely.union_all([metres(part) for one in changes for part in (one.gained,) if part is not None])
    assert told.difference(WEST.buffer(1)).area < 1


def test_a_drained_lake_disappears_despite_a_new_one_at_the_border() -> None:
    """The lake in the west was drained; a detection beyond the border does not continue its identity."""
    steps = fold(((LAKE,), WEST), ((box(0, 0, 900, 400),), BOTH))
    assert sorted((change.kind, change.baseline) for change in steps[1].changes) == [
        ("appeared", True),
        ("disappeared", False),
    ]


def test_a_barely_visible_object_continues_across_the_border() -> None:
    """A twentieth of the lake is visible: too little to compare it, enough to continue it in the east."""
    east = box(-30, -2000, 2000, 2000)
    for there in (LAKE, box(-600, 0, 900, 300)):
        steps = fold(((LAKE,), WEST), ((there,), east))
        assert reported(steps) == []
        assert len(states(steps)) == 1
        west = metres(states(steps)[0].geometry).intersection(WEST)
        assert west.symmetric_difference(LAKE.intersection(WEST)).area < 1


def test_a_hidden_object_keeps_its_misses() -> None:
    numbers = TrackingSettings(gone_after=2)
    steps = fold(((LAKE,), WEST), ((), WEST), ((LAKE,), EAST), ((), WEST), numbers=numbers)
    assert [state.misses for state in states(steps[:3])] == [1]
    assert [change.kind for change in steps[3].changes] == []


CELL = 250


def cells(chosen: Iterable[int], shift_m: int = 0) -> BaseGeometry:
    corners = ((index % 5 * CELL - 625 + shift_m, index // 5 * CELL - 625) for index in chosen)
    return shapely.union_all([box(west, south, west + CELL, south + CELL) for west, south in corners])


chosen = st.frozensets(st.integers(0, 24), min_size=1)


@example(
    water=frozenset({0, 2, 4, 15}),
    views=[frozenset({0}), frozenset({0, 2, 4, 15}), frozenset({0, 2, 4, 15})],
    shift_m=20,
)
@example(
    water=frozenset({0, 1, 2, 7, 12, 17}),
    views=[frozenset({0, 1, 2, 3, 4, 5, 6, 7, 17}), frozenset({0, 11}), frozenset({0, 17})],
    shift_m=20,
)
@example(
    water=frozenset({16, 17, 21}),
    views=[frozenset({17}), frozenset({21}), frozenset({0}), frozenset({16, 21})],
    shift_m=100,
)
@example(
    water=frozenset({6, 7, 10, 12, 16, 17}),
    views=[frozenset({10}), frozenset({6, 7, 12, 16, 17})],
    shift_m=0,
)
@example(water=frozenset({14, 18}), views=[frozenset({14}), frozenset({18})], shift_m=0)
@example(water=frozenset({0, 1, 2}), views=[frozenset({0, 2}), frozenset({1})], shift_m=0)
@given(
    water=chosen,
    views=st.lists(chosen, min_size=1, max_size=6),
    shift_m=st.sampled_from([0, 0, 20, 100]),
)
@settings(max_examples=200, deadline=None)
def test_a_steady_world_has_no_change_under_any_footprints(
    water: frozenset[int], views: list[frozenset[int]], shift_m: int
) -> None:
    """With any swaths and clouds in any order, only baseline is recorded.

    Footprints overlap by nothing or by more than a pixel; smaller overlaps cannot be told from rounding.
    """
    there = extract_polygons(cells(water))
    footprints = [cells(view, shift_m * (number % 2)) for number, view in enumerate(views)]
    steps = fold(*((there, footprint) for footprint in footprints))
    assert reported(steps) == []
    assert {change.kind for step in steps for change in step.changes} <= {"appeared"}
    seen = shapely.union_all(footprints)
    expected = shapely.union_all(there).intersection(seen)
    alive = states(steps)
    found = shapely.union_all([metres(state.geometry) for state in alive])
    assert found.symmetric_difference(expected).area < 1e-3 * CELL**2
    if not shift_m:
        assert len(alive) == len(extract_polygons(expected))


@given(st.lists(chosen, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_pieces_are_disjoint_and_cover_the_observed_area(views: list[frozenset[int]]) -> None:
    seen = ObservedGround()
    pieces: list[BaseGeometry] = []
    for number, view in enumerate(views):
        footprint = ground(cells(view))
        new = seen.find_new(footprint)
        assert new.new_to_series.equals(new.never_observed)
        unseen = cells(view.difference(*views[:number]))
        assert metres(new.new_to_series).symmetric_difference(unseen).area < 1e-3 * CELL**2
        pieces.append(new.new_to_series)
        seen.add(GroundPiece(UUID(int=number), new.new_to_series))
    assert metres(shapely.union_all(pieces)).area == pytest.approx(sum(metres(one).area for one in pieces))
    assert seen.find_new(ground(cells(frozenset().union(*views)))).new_to_series.is_empty


def test_new_ground_depends_on_nothing_but_the_pieces_that_meet_the_footprint() -> None:
    """Twelve strips seen in turn; the last footprint shows them all and 20 m on each side."""
    strips = [
        GroundPiece(UUID(int=number), ground(box(150 * number, -900 + number, 150 * (number + 1), 900)))
        for number in range(12)
    ]
    far = GroundPiece(UUID(int=99), ground(box(-5000, -2000, -3000, 2000)))
    footprint = box(-20, -500, 1820, 500)
    found = [
        ObservedGround(pieces).find_new(ground(footprint)).new_to_series
        for pieces in (strips, [far, *strips[::-1]], [*strips[6:], *strips[:6]])
    ]
    sides = metres(found[0])
    assert sides.symmetric_difference(footprint.difference(box(0, -500, 1800, 500))).area < 1
    assert all(one.equals_exact(found[0], 0) for one in found)
    # what an observation asked before has no influence
    seen = ObservedGround(strips)
    assert not seen.find_new(ground(box(1000, -500, 1900, 500))).new_to_series.is_empty
    assert seen.find_new(ground(footprint)).new_to_series.equals_exact(found[0], 0)


def test_a_continued_series_inherits_observed_ground() -> None:
    """The model before observed west and middle; what the new one first detects there is not reported."""
    middle = box(-2000, -2000, 1000, 2000)
    before = fold(((LAKE,), middle))
    since = START + timedelta(hours=1)
    taken = inherit_tracks(states(before), SERIES, since)
    inherited = [GroundPiece(step.observation_id, step.new_ground, inherited=True) for step in before]
    puddle = box(200, -1000, 500, -700)
    wider = box(-600, 0, 1400, 400)
    steps = fold_series(
        taken.values(),
        make_observations(
            ((LAKE,), WEST),
            ((wider, puddle), BOTH),
            ((wider, puddle, box(-1500, 1000, -1200, 1300)), BOTH),
        ),
        series_id=SERIES,
        origin=ORIGIN,
        since=since,
        observed_before=inherited,
    )
    assert [change.kind for change in reported(steps)] == ["appeared"]
    assert reported(steps)[0].valid_at == START + timedelta(days=2)
    assert [change.baseline for change in steps[1].changes] == [True], (
        "a puddle that the model before had missed"
    )
    lake = max(states(steps), key=lambda state: state.area_m2)
    assert lake.track_id in taken_ids(taken)
    assert same(lake.geometry, wider)


def taken_ids(taken: dict[UUID, TrackState]) -> set[UUID]:
    return {state.track_id for state in taken.values()}
