"""The benchmark of tracking quality: fair worlds, a tracker that is right where that can be, changes counted right."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from segwatch.benchmarks import tracking_belief
from segwatch.benchmarks import tracking_quality as quality
from segwatch.benchmarks.tracking_belief import Told, is_decidable, pair
from segwatch.benchmarks.tracking_rivals import (
    COME_AND_GO,
    KINDS,
    TRACKERS,
    Report,
    frame_to_frame,
    latest_outline,
    segwatch,
    spacenet7,
)
from segwatch.benchmarks.tracking_scores import scot
from segwatch.benchmarks.tracking_worlds import (
    PERFECT,
    SERIES,
    Noise,
    SceneView,
    TrueChange,
    World,
    look,
    make,
    time_of,
)
from segwatch.geo.types.belief import Belief
from segwatch.geo.types.tracking import Change, ChangeKind, Judgement


def masks(*spans: tuple[int, int]) -> NDArray[np.int32]:
    """(S, 1, 20) object 1 on the pixels from..to of each scene."""
    labels = np.zeros((len(spans), 1, 20), np.int32)
    for scene, (begin, end) in zip(labels, spans, strict=True):
        scene[0, begin:end] = 1
    return labels


def views_of(labels: NDArray[np.int32], *hidden: int) -> list[SceneView]:
    """Perfectly found scenes, the numbered ones wholly under cloud."""
    views = []
    for number, truth in enumerate(labels):
        clear = np.full(truth.shape, number not in hidden)
        seen = np.where(clear, truth, 0)
        regions = np.asarray(ndimage.label(seen)[0], np.int32)
        views.append(SceneView(seen, clear, regions, None))  # type: ignore[arg-type]
    return views


def report(kind: ChangeKind, scene: int, begin: int, end: int, told: int | None = None) -> Report:
    return Report(kind, scene, scene if told is None else told, masks((begin, end))[0] > 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_world_matches_its_changes(seed: int) -> None:
    world = make(seed, decidable=bool(seed % 2))
    for labels in world.labels[::5]:
        for one in np.unique(labels[labels > 0]):
            assert ndimage.label(labels == one)[1] == 1
        touching, _ = ndimage.label(labels > 0, np.ones((3, 3)))
        assert touching.max() == len(np.unique(labels)) - 1
    told = {(one.scene, one.id): one.kind for one in world.changes}
    for scene, (before, after) in enumerate(pairwise(world.labels), start=1):
        old, new = (dict(zip(*np.unique(side, return_counts=True), strict=True)) for side in (before, after))
        for one in (set(old) | set(new)) - {0}:
            kind = told.get((scene, int(one)))
            if one not in old:
                assert kind in (ChangeKind.APPEARED, ChangeKind.SPLIT)
            elif one not in new:
                assert kind in (ChangeKind.DISAPPEARED, ChangeKind.MERGED)
            elif kind is ChangeKind.GREW:
                assert new[one] > 1.2 * old[one]
            elif kind is ChangeKind.SHRANK:
                assert new[one] < old[one] / 1.2
            elif kind is None:
                assert new[one] == old[one]
    assert {one.kind for one in world.changes} == set(KINDS)


def test_the_largest_part_keeps_the_identity() -> None:
    for seed in range(5):
        world = make(seed)
        for one in world.changes:
            if one.kind in (ChangeKind.SPLIT, ChangeKind.MERGED) and one.id % 2 == 0:
                apart = world.labels[one.scene if one.kind is ChangeKind.SPLIT else one.scene - 1]
                assert 0 < (apart == one.id).sum() < (apart == one.id - 1).sum()


def test_scenes_follow_world_and_noise() -> None:
    world = make(3, rows=3, columns=3)
    for view in look(world, PERFECT, 3):
        assert ((view.regions > 0) == (view.truth > 0)).all()
        assert not view.truth[~view.clear].any()
        assert view.clear.mean() == pytest.approx(0.6, abs=0.01)
        assert len(view.observation.detections) == view.regions.max()
    noisy = look(world, Noise(), 3)
    again = look(world, Noise(), 3)
    assert [one.observation for one in noisy] == [one.observation for one in again]
    assert any(((one.regions > 0) != (one.truth > 0)).any() for one in noisy)


@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(1, 15))
def test_perfect_detections_keep_identities_under_any_cloud(seed: int, cloud: float, blob_px: float) -> None:
    world = make(seed, scenes=14, rows=2, columns=2, decidable=True)
    views = look(world, replace(PERFECT, cloud=cloud, blob_px=blob_px), seed)
    assert scot(quality.frames(views, segwatch(views))).combined == 1.0


def test_no_baseline_does_better_in_a_noisy_world() -> None:
    world = make(11, rows=4, columns=4)
    views = look(world, Noise(), 11)
    scores = {name: scot(quality.frames(views, track(views))).combined for name, track in TRACKERS.items()}
    assert scores[""] == max(scores.values())
    assert scores[""] > 0.5


def test_baselines_follow_their_rules() -> None:
    views = views_of(masks((0, 10), (0, 10), (0, 10), (4, 14), (8, 18)), 1)
    # unseen once, a frame-to-frame identity is lost; then neighbours overlap by 6 of 14
    assert [ids.tolist() for ids in frame_to_frame(views).ids] == [[0], [], [1], [1], [1]]
    # the first outline still knows it, and overlaps the last by 2 of 18
    assert [ids.tolist() for ids in spacenet7(views).ids] == [[0], [], [0], [0], [1]]
    assert [ids.tolist() for ids in latest_outline(views).ids] == [[0], [], [0], [0], [0]]
    told = [(one.kind, one.dated, one.told) for one in spacenet7(views).reports]
    gone, new = ChangeKind.DISAPPEARED, ChangeKind.APPEARED
    assert told == [(gone, 1, 1), (new, 4, 4), (gone, 4, 4)]


def test_frames_hold_the_union_of_each_identity() -> None:
    (view,) = views_of(masks((0, 12)))
    view.regions[0, 4:6] = 0
    view.regions[0, 6:12] = 2
    view.regions[0, 15:18] = 3
    tracked = frame_to_frame([view])
    tracked.ids[0] = np.array([7, 7, 9])
    (frame,) = quality.frames([view], tracked)
    assert (frame.truth.tolist(), frame.proposed.tolist()) == ([1], [7, 9])
    assert frame.iou.tolist() == [[10 / 12, 0.0]]


def test_changes_are_paired_one_to_one() -> None:
    grew, new = ChangeKind.GREW, ChangeKind.APPEARED
    labels = masks((0, 0), (0, 5), (0, 5), (0, 9), (0, 9), (0, 9), (0, 9))
    world = World(labels, (TrueChange(1, new, 1), TrueChange(1, grew, 3)), decidable=False)
    exact = [report(new, 1, 0, 5), report(grew, 3, 0, 9)]
    assert quality.changes_found(world, exact, KINDS) == quality.Found(2, 2, 2)
    twice = [*exact, report(new, 2, 0, 5)]
    found = quality.changes_found(world, twice, KINDS)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0
    off = [report(new, 4, 0, 5), report(grew, 5, 0, 9), report(grew, 3, 12, 14)]
    assert quality.changes_found(world, off, KINDS) == quality.Found(2, 3, 1)
    assert quality.changes_found(world, exact, COME_AND_GO) == quality.Found(1, 1, 1)
    assert quality.changes_found(world, [], KINDS).recall == 0.0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_told_changes_the_one_dated_nearest_to_the_true_one_is_right(order: tuple[int, int]) -> None:
    """The object grows in scene 3, told twice: in time, and again two scenes later from a doubtful interval."""
    labels = masks((0, 5), (0, 5), (0, 5), (0, 9), (0, 9), (0, 9), (0, 9))
    true = TrueChange(1, ChangeKind.GREW, 3)
    told = []
    for begin, dated in ((2, 3), (2, 5)):
        at = time_of(dated)
        change = Change(SERIES, ChangeKind.GREW, "object", at, 500.0, 900.0, None, None, 0.9)
        judgement = Judgement(SERIES, SERIES, ChangeKind.GREW, Belief(0.5), time_of(begin), at)
        told.append((Told(change, dated, labels[dated] > 0, ((dated, judgement),)), judgement))
    right = pair(World(labels, (true,), False), [true], [told[index] for index in order])
    assert [order[row] for row in right] == [0]


def test_delays_count_scenes_in_which_it_could_be_seen() -> None:
    new, gone = ChangeKind.APPEARED, ChangeKind.DISAPPEARED
    labels = masks((0, 0), (0, 5), (0, 5), (0, 5), (0, 5), (0, 0), (0, 0), (0, 0))
    world = World(labels, (TrueChange(1, new, 1), TrueChange(1, gone, 5)), decidable=False)
    views = views_of(labels, 2, 6)
    late = [report(new, 4, 0, 5), report(gone, 5, 0, 5, told=7)]
    # seen in 1 and 3 before it is told in 4; its ground is seen in 5 and not in 6 before it is told in 7
    assert quality.delays(world, views, late, new) == [2]
    assert quality.delays(world, views, late, gone) == [1]
    assert quality.delays(world, views, [report(new, 1, 0, 5), report(gone, 4, 0, 5)], new) == [0]
    assert quality.delays(world, views, [report(gone, 4, 0, 5), report(gone, 5, 9, 15)], gone) == []


def test_a_quick_run_gives_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_small(seed: int, **more: Any) -> World:
        return make(seed, **{**more, "rows": 2, "columns": 3})

    for module in (quality, tracking_belief):
        monkeypatch.setattr(module, "make", make_small)
    figures = quality.run(quick=True)
    names = [
        *(
            "scot",
            "hota",
            "idf1",
            "change_precision",
            "change_recall",
            "appear_delay_scenes",
            "gone_delay_scenes",
        ),
        *(
            "scot_iou",
            "scot_spacenet7",
            "scot_latest",
            "come_and_go_precision_iou",
            "gone_delay_scenes_median",
        ),
    ]
    assert {f"quality_{name}" for name in names} <= set(figures)
    assert figures["quality_scot_perfect"] == 1.0
    assert all(
        0 <= value <= 1 for name, value in figures.items() if "delay" not in name and name != "quality_worlds"
    )


@pytest.mark.parametrize(
    ("hidden", "decidable"), [((), True), ((3,), True), ((3, 4), False), ((5, 6), True), ((0, 1), False)]
)
def test_recall_counts_changes_that_were_seen_before_and_twice_after_while_they_held(
    hidden: tuple[int, ...], decidable: bool
) -> None:
    """The object grows in scene 2, holds for four scenes, and shrinks back: what is seen from then on tells nothing."""
    small, large = (2, 6), (2, 14)
    labels = masks(small, small, large, large, large, large, small, small, small)
    change = TrueChange(1, ChangeKind.GREW, 2)
    world = World(labels, (change,), False)
    assert world.ground(change).sum() == 8
    assert world.find_span(change) == (0, 6)
    assert is_decidable(world, views_of(labels, *hidden), change) is decidable
