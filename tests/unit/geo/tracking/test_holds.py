"""What else may explain a change holds it back, until an observation tells both apart."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.tracking.region_views import ShownGround
from segwatch.geo.types.belief import BeliefStatus
from segwatch.geo.types.tracking import ChangeKind, TrackedObservation, TrackingStep
from tests.support.tracked_fields import FIELD, LAKE, POND, START, beliefs, fold, observe, to_degrees

WEST, EAST = box(-300, -300, -220, -100), box(-190, -300, -100, -100)
"""The lake after it was split by a gap of 30 m."""


def see(number: int, *shapes: BaseGeometry, cloud: BaseGeometry | None = None) -> TrackedObservation:
    """Observe shapes through a cloud, each cut at it; the pond stays."""
    clear = FIELD if cloud is None else FIELD - cloud
    return observe(number, POND, *(one & clear for one in shapes), clear=clear)


def list_statuses(steps: Sequence[TrackingStep], kind: ChangeKind) -> list[BeliefStatus]:
    return [one.status for one in beliefs(steps, kind)]


def test_a_gap_whose_end_is_hidden_is_no_loss() -> None:
    """What is hidden still joins the parts, so that only the ground between them seems lost; then a part is missed."""
    before = [see(number, LAKE) for number in range(4)]
    cut = see(4, WEST, EAST, cloud=box(-400, -400, 0, -270))
    steps = fold(*before, cut, see(5, EAST), see(6, WEST, EAST), see(7, WEST, EAST))
    assert ChangeKind.SHRANK in {change.kind for change in steps[4].changes}
    assert BeliefStatus.CONFIRMED not in list_statuses(steps, ChangeKind.SHRANK)
    assert list_statuses(steps, ChangeKind.SPLIT)[-1] is BeliefStatus.CONFIRMED


def test_a_loss_is_told_once_one_detection_covers_what_seemed_cut() -> None:
    """A cloud lay across the lake that shrank, and its rim joined both sides of it before."""
    small, cloud = box(-280, -280, -120, -120), box(-210, -285, -190, -115)
    before = [see(number, LAKE) for number in range(4)]
    steps = fold(*before, see(4, small, cloud=cloud), see(5, small, cloud=cloud), see(6, small))
    lost = list_statuses(steps, ChangeKind.SHRANK)
    assert lost[-1] is BeliefStatus.CONFIRMED
    assert lost[-2] is BeliefStatus.PROVISIONAL


def test_ground_between_two_objects_that_merge_is_no_growth() -> None:
    first, second = box(-300, -300, -200, -100), box(-170, -300, -70, -100)
    joined, cloud = box(-300, -300, -70, -100), box(-165, -400, 0, 0)
    before = [see(number, first, second) for number in range(4)]
    hidden = [see(number, joined, cloud=cloud) for number in (4, 5)]
    steps = fold(*before, *hidden, see(6, joined), see(7, joined))
    grown = list_statuses(steps, ChangeKind.GREW)
    assert grown[:2] == [BeliefStatus.PROVISIONAL] * 2
    assert grown[-1] is BeliefStatus.REFUTED
    assert list_statuses(steps, ChangeKind.MERGED)[-1] is BeliefStatus.CONFIRMED


def test_growth_beside_a_neighbour_is_told_once_both_are_seen_apart() -> None:
    first, second = box(-300, -300, -200, -100), box(-170, -300, -70, -100)
    grown, cloud = box(-300, -300, -175, -100), box(-172, -400, 0, 0)
    before = [see(number, first, second) for number in range(4)]
    hidden = [see(number, grown, cloud=cloud) for number in (4, 5)]
    steps = fold(*before, *hidden, see(6, grown, second))
    assert list_statuses(steps, ChangeKind.GREW) == [BeliefStatus.PROVISIONAL] * 2 + [BeliefStatus.CONFIRMED]


def test_growth_behind_a_cloud_is_told_once_the_whole_object_is_seen() -> None:
    """Two pixels more on the visible side might be a movement; the area of the whole object tells."""
    narrow, wide, cloud = box(-300, -300, -260, -100), box(-300, -300, -240, -100), box(-400, -400, -285, 0)
    before = [see(number, narrow) for number in range(4)]
    hidden = [see(number, wide, cloud=cloud) for number in (4, 5)]
    steps = fold(*before, *hidden, see(6, wide))
    assert list_statuses(steps, ChangeKind.GREW) == [BeliefStatus.PROVISIONAL] * 2 + [BeliefStatus.CONFIRMED]


@pytest.mark.parametrize(("width_m", "shown"), [(4, False), (15, True), (120, True)])
def test_a_sliver_of_a_region_tells_nothing(width_m: float, shown: bool) -> None:
    clear = box(-300, -1000, -300 + width_m, 1000)
    ground = ShownGround(observe(0).id, START, to_degrees(clear), observe(0, LAKE & clear).detections)
    view = ground.view(to_degrees(LAKE), None, "water", 10.0)
    assert (view.visible_share > 0) is (view.covered_share > 0) is shown
