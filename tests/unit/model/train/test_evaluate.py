"""What an evaluation counts as right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from segwatch.model import evaluate
from segwatch.model.predictor import Prediction, Predictor

SIDE = 16
DARK, LIGHT = (np.full((SIDE, SIDE, 3), value, np.uint8) for value in (20, 200))
WHOLE = np.ones((SIDE, SIDE), np.bool_)


class Says:
    """Stands in for a model: the same logits for every instruction, or no answer at all."""

    tile_px = SIDE

    def __init__(self, logits: Sequence[np.ndarray[Any, Any]]) -> None:
        self.logits = np.stack(logits).astype(np.float32) if logits else np.zeros((0, SIDE, SIDE), np.float32)
        self.asked: list[str] = []

    def segment(self, images: Sequence[Any], instructions: Sequence[str]) -> list[list[Prediction]]:
        """As the predictor's."""
        self.asked += instructions
        return [[Prediction("", self.logits) for _ in instructions] for _ in images]


def rows(says: Says) -> list[evaluate.BaselineComparison]:
    there = evaluate.MaskExample(DARK, "water", WHOLE)
    absent = evaluate.MaskExample(LIGHT, "water", ~WHOLE)
    return evaluate.compare_with_baselines(cast(Predictor, says), "set", [there], [there, absent, absent])


def test_an_empty_mask_and_no_mask_are_right_where_the_target_is_absent() -> None:
    for says in (Says([]), Says([np.full((SIDE, SIDE), -1.0)])):
        (row,) = rows(says)
        assert (row.false_alarms, row.wrongly_marked, row.c_iou) == (0.0, 0.0, 0.0)
        assert set(says.asked) == {"segment the water"}


def test_a_single_pixel_is_found_where_absent() -> None:
    logits = np.full((SIDE, SIDE), -1.0)
    logits[3, 4] = 1.0
    (row,) = rows(Says([logits]))
    assert row.false_alarms == 1.0
    assert row.wrongly_marked == pytest.approx(1 / SIDE**2)
    assert "| 100% (0.4%) |" in evaluate.format_table([row])


def test_an_equally_good_baseline_is_not_beaten() -> None:
    (row,) = rows(Says([np.ones((SIDE, SIDE))]))
    assert row.c_iou == row.full == row.threshold == 1.0
    assert not row.beats_baselines
