"""Tiles of a watch are split by ground, and scored where they are labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segwatch.model import prompt
from segwatch.model.errors import DatasetError
from segwatch.model.train.adaptation import AdaptationPlan, TileSource
from segwatch.model.train.adaptation_scores import compute_mean_iou, score_masks
from segwatch.model.train.adaptation_tiles import (
    AdaptationTile,
    Part,
    load_tiles,
    split_places,
    write_index,
    write_tile,
)


def test_blocks_are_split_alike_with_and_without_a_target() -> None:
    names = [f"{row}_{column}" for row in range(5) for column in range(4)]
    shown = set(names[:10])
    parts = split_places(names, shown, 7)
    for group in (shown, set(names) - shown):
        held = [parts[name] for name in group]
        assert (held.count(Part.JUDGE), held.count(Part.STOP)) == (2, 2)
    assert parts == split_places(names[::-1], shown, 7), "the order does not matter"
    assert parts != split_places(names, shown, 8)
    for few, with_target in ((names[:5], shown), (names, set(names[:2]))):
        with pytest.raises(DatasetError, match="review more objects"):
            split_places(few, with_target, 7)


def test_all_tiles_of_a_block_are_in_one_part(tmp_path: Path) -> None:
    places = {}
    for index in range(24):
        labels = np.full((1, 4, 4), index % 2, np.int8)
        write_tile(tmp_path / f"t{index}.npz", np.full((4, 4, 3), index, np.uint8), labels)
        places[f"t{index}"] = f"b{index // 3}"
    write_index(tmp_path, places)
    tiles = load_tiles(tmp_path, 7)
    assert {(one.place, one.part) for one in tiles} == set({one.place: one.part for one in tiles}.items())
    assert {one.part for one in tiles} == set(Part)
    (tmp_path / "t3.npz").write_bytes(b"")
    with pytest.raises(DatasetError, match="collect them again"):
        load_tiles(tmp_path, 7)


def _tile(name: str, labels: list[int]) -> AdaptationTile:
    return AdaptationTile(
        name, name, Part.JUDGE, np.zeros((2, 2, 3), np.uint8), np.array(labels, np.int8).reshape(1, 2, 2)
    )


def test_pixels_without_a_label_count_for_nothing() -> None:
    tiles = [_tile("a", [1, 1, 0, -1]), _tile("b", [0, 0, -1, -1])]
    masks = np.array([[[[1, 0], [0, 1]]], [[[1, 0], [1, 1]]]], bool)
    (found,) = score_masks(masks, tiles, ["water"])
    assert found.iou.value == pytest.approx(1 / 3)
    assert found.precision.value == pytest.approx(1 / 2)
    assert found.recall.value == pytest.approx(1 / 2)
    assert (found.pixels, found.absent_tiles, found.absent_marked) == (5, 1, 1)
    assert found.iou.low is not None
    assert found.iou.low < 1 / 3
    assert compute_mean_iou([found]) == pytest.approx(1 / 3)
    (empty,) = score_masks(np.zeros_like(masks), [_tile("a", [0, 0, 0, 0])] * 2, ["water"])
    assert empty.iou.value is None
    assert compute_mean_iou([empty]) == 0


def test_instructions_deny_what_is_certainly_absent(tmp_path: Path) -> None:
    plan = AdaptationPlan(
        "segment the lakes and the roads", ("lakes", "roads"), tmp_path, tmp_path, tmp_path, tmp_path, "m"
    )
    shown = np.full((2, 4, 4), -1, np.int8)
    shown[0, :2] = 1
    rng, rgb = np.random.default_rng(0), np.zeros((4, 4, 3), np.uint8)
    (pair,) = TileSource(plan, [AdaptationTile("a", "a", Part.LEARN, rgb, shown)]).draw_image(rng, 1).pairs
    assert pair.answer == "Sure, it is lakes [SEG] and roads [SEG]."
    assert [int(mask.sum()) for mask in pair.masks] == [8, 0]
    assert pair.known is not None
    assert [int(known.sum()) for known in pair.known] == [8, 0], "what nobody judged counts for nothing"
    absent = AdaptationTile("b", "b", Part.LEARN, rgb, np.zeros((2, 4, 4), np.int8))
    (denied,) = TileSource(plan, [absent]).draw_image(rng, 1).pairs
    assert (denied.instruction, denied.answer, denied.masks) == (plan.instruction, prompt.NOTHING, ())
