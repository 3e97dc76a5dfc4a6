"""Metrics against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segwatch.model import metrics
from segwatch.model.errors import InputError


def mask(*cells: int) -> NDArray[np.bool_]:
    flat = np.zeros(8, dtype=np.bool_)
    flat[list(cells)] = True
    return flat.reshape(2, 4)


def test_overlap_by_hand() -> None:
    found = metrics.compute_overlap(mask(0, 1, 2), mask(1, 2, 3, 4))
    assert (found.intersection, found.union, found.iou) == (2, 5, 0.4)


def test_empty_against_empty_is_right() -> None:
    assert metrics.compute_overlap(mask(), mask()).iou == 1.0


def test_summary_by_hand() -> None:
    summary = metrics.summarise([metrics.Overlap(1, 2), metrics.Overlap(9, 10), metrics.Overlap(0, 0)])
    assert summary.targets == 3
    assert summary.g_iou == pytest.approx((0.5 + 0.9 + 1.0) / 3)
    assert summary.c_iou == pytest.approx(10 / 12)
    assert summary.precision_at[0.5] == 1.0
    assert summary.precision_at[0.6] == pytest.approx(2 / 3)


def test_too_few_masks_repeat_the_last_and_too_many_are_cut() -> None:
    first, second = mask(0), mask(1)
    assert [item.iou for item in metrics.compare_in_order([first], [first, second])] == [1.0, 0.0]
    assert [item.iou for item in metrics.compare_in_order([first, second], [first])] == [1.0]
    assert [item.iou for item in metrics.compare_in_order([], [first])] == [0.0]


def test_best_order_ignores_order() -> None:
    first, second = mask(0, 1), mask(4)
    assert [item.iou for item in metrics.compare_in_best_order([second, first], [first, second])] == [
        1.0,
        1.0,
    ]
    assert [item.iou for item in metrics.compare_in_best_order([second], [first, second])] == [0.0, 1.0]
    assert metrics.compare_in_best_order([first], []) == []


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="resize"):
        metrics.compute_overlap(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


def test_no_targets_are_refused() -> None:
    with pytest.raises(InputError, match="no targets"):
        metrics.summarise([])


cells = st.lists(st.integers(0, 7), max_size=8)


@given(cells, cells)
def test_iou_is_symmetric_and_bounded(one: list[int], other: list[int]) -> None:
    forth, back = (
        metrics.compute_overlap(mask(*one), mask(*other)),
        metrics.compute_overlap(mask(*other), mask(*one)),
    )
    assert forth == back
    assert 0.0 <= forth.iou <= 1.0
    assert metrics.compute_overlap(mask(*one), mask(*one)).iou == 1.0
