"""The tracking core on small worlds whose right answer is known.

Shapes are given in metres east and north of an origin and put into EPSG:4326 through the series' projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2
from segwatch.geo.crs import make_local_equal_area, to_crs, to_lonlat
from segwatch.geo.polygons import clean
from segwatch.geo.tracking.alert_rules import (
    compute_digest_time,
    end_quiet_hours,
    list_judged_changes,
    match_changes,
)
from segwatch.geo.tracking.fold import fold_observation
from segwatch.geo.tracking.ground import ObservedGround, compute_search_area
from segwatch.geo.types.tracking import (
    Change,
    ChangeKind,
    Detection,
    GroundPiece,
    TrackedObservation,
    TrackingStep,
    TrackState,
)
from segwatch.geo.types.watch import AlertRule, Digest, QuietHours, TrackingSettings

ORIGIN = (15.0, 46.0)
CRS = make_local_equal_area(ORIGIN)
SERIES = UUID(int=1)
START = datetime(2024, 5, 1, 10, tzinfo=UTC)
EVERYTHING = box(-5000, -5000, 5000, 5000)
NUMBERS = TrackingSettings(min_change_m2=500, gone_after=2)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def ground(shape: BaseGeometry) -> BaseGeometry:
    return clean(to_lonlat(shape.segmentize(200), CRS))


def metres(geometry: BaseGeometry) -> BaseGeometry:
    return to_crs(geometry, CRS)


class World:
    """A series folded scene by scene; keeps the present state of every track."""

    def __init__(self, numbers: TrackingSettings = NUMBERS) -> None:
        self.numbers = numbers
        self.tracks: dict[UUID, TrackState] = {}
        self.steps: list[TrackingStep] = []
        self.seen = ObservedGround()

    def observe(
        self, *found: BaseGeometry, footprint: BaseGeometry = EVERYTHING, target: str = "water"
    ) -> TrackingStep:
        """Observe the next scene: clip the objects to the footprint."""
        number = len(self.steps)
        seen = [part for shape in found for part in _polygons(shape.intersection(footprint))]
        detections = tuple(Detection(target, ground(one), 0.9, compute_area_m2(ground(one))) for one in seen)
        observation = TrackedObservation(
            uuid5(SERIES, str(number)),
            uuid5(SERIES, f"scene {number}"),
            day(number),
            ground(footprint),
            detections,
        )
        new = self.seen.find_new(observation.footprint)
        area = compute_search_area(observation.footprint, self.numbers.tolerance_m, new)
        live = [one for one in self.tracks.values() if not one.merged_into and one.geometry.intersects(area)]
        step = fold_observation(live, observation, self.numbers, series_id=SERIES, origin=ORIGIN, new=new)
        self.seen.add(GroundPiece(observation.id, step.new_ground))
        self.tracks |= {one.track_id: one for one in step.states}
        self.steps.append(step)
        return step

    @property
    def alive(self) -> list[TrackState]:
        return [one for one in self.tracks.values() if one.alive]

    def only(self) -> TrackState:
        (one,) = self.alive
        return one


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    return [part for part in shapely.get_parts(geometry) if isinstance(part, Polygon) and part.area > 1]


def kinds(step: TrackingStep) -> list[str]:
    return sorted(change.kind.value for change in step.changes)


def same(one: BaseGeometry, other: BaseGeometry) -> bool:
    return metres(one).symmetric_difference(other).area < 1e-3 * other.area


LAKE = box(0, 0, 400, 400)
POND = box(1000, 1000, 1200, 1200)


def test_the_first_scene_is_the_baseline() -> None:
    step = World().observe(LAKE, POND)
    assert kinds(step) == ["appeared", "appeared"]
    assert all(change.baseline for change in step.changes)
    assert None not in step.detection_tracks
    assert {change.after_m2 for change in step.changes} == {state.area_m2 for state in step.states}


def test_an_unchanged_object_keeps_its_coordinates() -> None:
    world = World()
    world.observe(LAKE)
    first = world.only()
    for _ in range(5):
        assert kinds(world.observe(LAKE)) == []
    last = world.only()
    assert last.geometry.equals_exact(first.geometry, 0)
    assert (last.track_id, last.first_seen, last.last_seen) == (first.track_id, day(0), day(5))


def test_a_later_object_appears_outside_the_baseline() -> None:
    world = World()
    world.observe(LAKE)
    (change,) = world.observe(LAKE, POND).changes
    assert change.kind is ChangeKind.APPEARED
    assert not change.baseline
    assert change.before_m2 == 0
    assert change.gained is not None
    assert same(change.gained, POND)


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (box(0, 0, 500, 400), "grew"),
        (box(0, 0, 300, 400), "shrank"),
        (box(120, 0, 520, 400), "moved"),
        (box(10, 10, 410, 410), None),
        (box(0, 0, 405, 400), None),
    ],
)
def test_growth_beyond_one_pixel_and_the_minimum_is_a_change(after: BaseGeometry, kind: str | None) -> None:
    world = World()
    world.observe(LAKE)
    step = world.observe(after)
    assert kinds(step) == ([kind] if kind else [])
    assert same(world.only().geometry, after)
    if kind:
        (change,) = step.changes
        gained = compute_area_m2(change.gained) if change.gained else 0
        lost = compute_area_m2(change.lost) if change.lost else 0
        assert change.after_m2 == pytest.approx(change.before_m2 + gained - lost, abs=2)


def test_two_misses_end_an_object_dated_to_the_first() -> None:
    world = World()
    world.observe(LAKE)
    assert kinds(world.observe()) == []
    assert world.only().misses == 1
    (change,) = world.observe().changes
    assert (change.kind, change.valid_at, change.after_m2) == (ChangeKind.DISAPPEARED, day(1), 0)
    assert world.alive == []
    assert world.observe().states == ()


def test_a_detection_resets_misses() -> None:
    world = World()
    world.observe(LAKE)
    world.observe()
    world.observe(LAKE)
    world.observe()
    assert (world.only().misses, world.only().missed_since) == (1, day(3))


def test_an_object_reappears_under_the_same_id() -> None:
    world = World()
    world.observe(LAKE)
    before = world.only()
    world.observe()
    world.observe()
    back = box(50, 50, 350, 350)
    (change,) = world.observe(back).changes
    assert (change.kind, change.track_id, change.before_m2) == (ChangeKind.REAPPEARED, before.track_id, 0)
    assert world.only().first_seen == day(0)
    assert same(world.only().geometry, back)


def test_a_split_keeps_the_identity_of_the_larger_part() -> None:
    world = World()
    world.observe(LAKE)
    whole = world.only()
    large, small = box(0, 0, 250, 400), box(300, 0, 400, 400)
    step = world.observe(large, small)
    assert kinds(step) == ["split", "split"]
    (line,) = step.lineage
    assert (line.parent, line.kind) == (whole.track_id, ChangeKind.SPLIT)
    assert same(world.tracks[whole.track_id].geometry, large)
    assert same(world.tracks[line.child].geometry, small)


def test_a_merge_ends_the_smaller_one() -> None:
    world = World()
    large, small = box(0, 0, 250, 400), box(300, 0, 400, 400)
    world.observe(large, small)
    keeper = max(world.alive, key=lambda one: one.area_m2)
    step = world.observe(LAKE)
    assert kinds(step) == ["merged", "merged"]
    (line,) = step.lineage
    assert (line.child, line.kind) == (keeper.track_id, ChangeKind.MERGED)
    ended = world.tracks[line.parent]
    assert (ended.alive, ended.merged_into) == (False, keeper.track_id)
    assert world.only().track_id == keeper.track_id


def test_split_and_merge_at_once() -> None:
    world = World()
    left, right = box(0, 0, 400, 400), box(500, 0, 900, 400)
    world.observe(left, right)
    before = {one.track_id: one for one in world.alive}
    # the left one loses its west end; the rest of it joins the right one
    step = world.observe(box(0, 0, 150, 400), box(200, 0, 900, 400))
    assert {one.track_id for one in world.alive} == set(before)
    assert kinds(step)
    assert len(world.alive) == 2


def test_a_cloud_across_the_middle_splits_nothing() -> None:
    world = World()
    world.observe(LAKE)
    band = box(150, -5000, 250, 5000)
    step = world.observe(LAKE, footprint=EVERYTHING.difference(band))
    assert kinds(step) == []
    assert len(set(step.detection_tracks)) == 1
    assert same(world.only().geometry, LAKE)


def test_growth_beside_a_cloud_keeps_what_is_under_it() -> None:
    world = World()
    world.observe(LAKE)
    cloud = box(-5000, -5000, 100, 5000)
    step = world.observe(box(0, 0, 600, 400), footprint=EVERYTHING.difference(cloud))
    assert kinds(step) == ["grew"]
    assert same(world.only().geometry, box(0, 0, 600, 400))


@pytest.mark.parametrize(("share", "misses"), [(0.5, 0), (0.79, 0), (0.85, 1)])
def test_a_miss_counts_only_if_enough_was_visible(share: float, misses: int) -> None:
    world = World()
    world.observe(LAKE)
    world.observe(footprint=box(-5000, -5000, 400 * share, 5000))
    assert world.only().misses == misses
    assert same(world.only().geometry, LAKE)


def test_the_visible_edge_of_a_hidden_lake_is_no_new_lake() -> None:
    world = World()
    world.observe(LAKE)
    step = world.observe(LAKE, footprint=box(-5000, -5000, 60, 5000))
    assert step.states == ()
    assert step.detection_tracks == (next(iter(world.tracks)),)


def test_a_pond_one_pixel_beside_a_lake_is_not_part_of_it() -> None:
    world = World()
    world.observe(LAKE)
    step = world.observe(LAKE, box(410, 0, 440, 30))
    assert kinds(step) == ["appeared"]
    assert step.lineage == ()


def test_a_road_one_pixel_aside_is_the_same_road() -> None:
    world = World()
    world.observe(box(0, 0, 800, 10))
    step = world.observe(box(0, 10, 800, 20))
    assert kinds(step) == []
    assert len(world.tracks) == 1


def test_holes_are_kept() -> None:
    ring = Point(0, 0).buffer(300).difference(Point(0, 0).buffer(100))
    world = World()
    world.observe(ring)
    world.observe(ring, footprint=EVERYTHING.difference(box(-5000, 50, 5000, 60)))
    assert same(world.only().geometry, ring)


def test_targets_are_tracked_separately() -> None:
    world = World()
    world.observe(LAKE, target="water")
    step = world.observe(LAKE, target="forest")
    assert kinds(step) == ["appeared"]
    assert {one.target for one in world.alive} == {"water", "forest"}


def test_ids_are_the_same_each_time() -> None:
    first, second = World(), World()
    for world in (first, second):
        world.observe(LAKE, POND)
        world.observe(LAKE)
    assert first.steps == second.steps


def squares(limit: int) -> st.SearchStrategy[list[BaseGeometry]]:
    """Squares in separate cells of a grid, each perhaps there."""
    cells = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), unique=True, min_size=0, max_size=limit)
    return cells.map(
        lambda chosen: [box(600 * c, 600 * r, 600 * c + 300, 600 * r + 300) for c, r in sorted(chosen)]
    )


clouds = st.builds(
    lambda left, bottom, width, height: box(left, bottom, left + width, bottom + height),
    st.integers(-100, 2000),
    st.integers(-100, 2000),
    st.integers(50, 1500),
    st.integers(50, 1500),
)


@settings(max_examples=60, deadline=None)
@given(squares(6), st.lists(clouds, max_size=6))
def test_clouds_never_change_a_steady_world(
    objects: Sequence[BaseGeometry], covers: list[BaseGeometry]
) -> None:
    """After a clear first observation, no cloud makes, ends, splits or resizes an object."""
    world = World()
    world.observe(*objects)
    for cloud in covers:
        step = world.observe(*objects, footprint=EVERYTHING.difference(cloud))
        assert step.changes == ()
    assert len(world.tracks) == len(objects)
    wanted = shapely.union_all([*objects, Polygon()])
    reached = shapely.union_all([metres(one.geometry) for one in world.alive])
    assert reached.symmetric_difference(wanted).area < 1e-4 * (1 + wanted.area)


@settings(max_examples=60, deadline=None)
@given(squares(5), squares(5), clouds)
def test_absence_needs_evidence(
    before: Sequence[BaseGeometry], after: Sequence[BaseGeometry], cloud: BaseGeometry
) -> None:
    """Under a cloud the state stays the old one, whatever happened there."""
    world = World(replace(NUMBERS, gone_after=1, gone_visible=1e-6, visible_min=1e-6))
    world.observe(*before)
    seen = EVERYTHING.difference(cloud)
    world.observe(*after, footprint=seen)
    now = shapely.union_all([metres(one.geometry) for one in world.alive if one.alive])
    for one in world.alive:
        assert one.geometry.is_valid
    under_cloud = shapely.union_all([part.intersection(cloud) for part in before]) if before else Polygon()
    gone = [one for one in world.tracks.values() if not one.alive]
    lost = shapely.union_all([metres(one.geometry) for one in gone]) if gone else Polygon()
    assert under_cloud.difference(now).difference(lost).area < 20.0
    found = shapely.union_all([part.difference(cloud) for part in after]) if after else Polygon()
    assert found.difference(now).area < 20.0


def change(kind: ChangeKind = ChangeKind.GREW, **more: object) -> Change:
    one = Change(UUID(int=1), kind, "water", day(0), 100.0, 200.0, ground(LAKE), None, 0.8)
    return replace(one, **more)  # type: ignore[arg-type]


def rule(**more: object) -> AlertRule:
    return replace(AlertRule("r", (ChangeKind.GREW, ChangeKind.APPEARED)), **more)  # type: ignore[arg-type]


def _make_area_north(metres: float) -> BaseGeometry:
    """Return an area the given distance north of the lake."""
    west, _, east, north = ground(LAKE).bounds
    return box(west, north + metres / 111_250, east, north + 1)


@pytest.mark.parametrize(
    ("one", "by", "matched"),
    [
        (change(), rule(), True),
        (change(ChangeKind.SHRANK), rule(), False),
        (change(), rule(min_area_m2=159_000), True),
        (change(), rule(min_area_m2=161_000), False),
        (change(), rule(min_score=0.9), False),
        (change(ChangeKind.APPEARED, baseline=True), rule(), False),
        (change(ChangeKind.APPEARED, baseline=True), rule(include_baseline=True), True),
        (change(gained=None, lost=ground(LAKE)), rule(min_area_m2=159_000), True),
        (change(), rule(min_growth=1.0), True),
        (change(), rule(min_growth=1.1), False),
        (change(after_m2=40.0), rule(min_growth=0.6), True),
        (change(ChangeKind.APPEARED, before_m2=0.0), rule(min_growth=1000.0), True),
        (change(), rule(region=ground(LAKE).buffer(1e-5)), True),
        (change(), rule(region=_make_area_north(500)), False),
        (change(), rule(region=_make_area_north(500), region_distance_m=490), False),
        (change(), rule(region=_make_area_north(500), region_distance_m=510), True),
        (change(), rule(region=box(170, -60, 171, -59), region_distance_m=100_000), False),
        (change(ChangeKind.GREW, gained=None), rule(region=ground(LAKE)), False),
    ],
)
def test_alert_rules_match(one: Change, by: AlertRule, matched: bool) -> None:
    step = TrackingStep(UUID(int=0), UUID(int=0), (), (one,), (), ())
    (listed,) = list_judged_changes([step])
    found = [(judged.change, rule) for judged, rule in match_changes([by], listed)]
    assert found == ([(one, by)] if matched else [])


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-01-10T20:59:59+00:00", None),  # 21:59:59 in Paris
        ("2026-01-10T21:00:00+00:00", "2026-01-11T05:00:00+00:00"),
        ("2026-01-11T04:59:00+00:00", "2026-01-11T05:00:00+00:00"),
        ("2026-01-11T05:00:00+00:00", None),
        # the night in which summer time begins ends an hour earlier
        ("2026-03-28T23:00:00+00:00", "2026-03-29T04:00:00+00:00"),
    ],
)
def test_quiet_hours_follow_local_time(now: str, expected: str | None) -> None:
    moment = datetime.fromisoformat(now)
    end = end_quiet_hours(QuietHours("22:00", "06:00", "Europe/Paris"), moment)
    assert end == (moment if expected is None else datetime.fromisoformat(expected))


def test_quiet_hours_within_a_day_and_none() -> None:
    noon = datetime(2026, 1, 10, 12, 30, tzinfo=UTC)
    assert end_quiet_hours(QuietHours("12:00", "13:00"), noon) == noon + timedelta(minutes=30)
    assert end_quiet_hours(QuietHours("13:00", "14:00"), noon) == noon
    assert end_quiet_hours(None, noon) == noon


@pytest.mark.parametrize(
    ("digest", "now", "expected"),
    [
        (Digest(), "2026-01-10T12:30:00+00:00", "2026-01-10T13:00:00+00:00"),
        (Digest(), "2026-01-10T13:00:00+00:00", "2026-01-10T14:00:00+00:00"),
        (Digest("07:00", "Europe/Paris"), "2026-01-10T05:59:59+00:00", "2026-01-10T06:00:00+00:00"),
        (Digest("07:00", "Europe/Paris"), "2026-01-10T06:00:00+00:00", "2026-01-11T06:00:00+00:00"),
        # clocks are put forward that night, and 02:30 is not on them
        (Digest("02:30", "Europe/Paris"), "2026-03-28T12:00:00+00:00", "2026-03-29T01:30:00+00:00"),
        (Digest("07:00", "Pacific/Auckland"), "2026-01-10T23:30:00+00:00", "2026-01-11T18:00:00+00:00"),
    ],
)
def test_digest_times(digest: Digest, now: str, expected: str) -> None:
    rule = AlertRule("r", tuple(ChangeKind), digest=digest)
    assert compute_digest_time(rule, datetime.fromisoformat(now)) == datetime.fromisoformat(expected)


def test_quiet_hours_hold_a_digest_back() -> None:
    night = datetime(2026, 1, 10, 23, 10, tzinfo=UTC)
    rule = AlertRule("r", tuple(ChangeKind), quiet=QuietHours("22:00", "06:00"), digest=Digest())
    later = [compute_digest_time(rule, night + timedelta(hours=hours)) for hours in range(7)]
    assert later == [datetime(2026, 1, 11, 6, tzinfo=UTC)] * 7, "the last at 05:10"
    assert compute_digest_time(AlertRule("r", tuple(ChangeKind)), night) is None
