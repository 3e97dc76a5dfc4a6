"""Made scenes, real pictures and instructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwatch.model import prompt
from segwatch.model.errors import InputError
from segwatch.model.train import instructions, real, scenes

DATA = Path(__file__).parents[3] / "demo" / "imagery"


def test_a_seed_always_gives_the_same_scene() -> None:
    one, other = scenes.make(11), scenes.make(11)
    assert np.array_equal(one.image, other.image)
    assert one.masks.keys() == other.masks.keys()
    assert all(np.array_equal(one.masks[name], other.masks[name]) for name in one.masks)
    assert not np.array_equal(one.image, scenes.make(12).image)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_masks_are_disjoint_and_absent_targets_are_not_there(seed: int, plain: bool) -> None:
    scene = scenes.simple(seed, 96) if plain else scenes.make(seed, 96)
    assert scene.image.shape == (96, 96, 3)
    assert scene.image.dtype == np.uint8
    covered = np.zeros((96, 96), dtype=int)
    for mask in scene.masks.values():
        covered += mask
    assert covered.max(initial=0) <= 1
    assert not set(scene.absent) & set(scene.masks)


def test_answers_name_one_seg_per_target() -> None:
    rng = np.random.default_rng(3)
    for pair in instructions.pairs(rng, ["forest", "water"], ["burned"], 60):
        assert pair.answer.count(prompt.SEG) == len(pair.targets)
        assert (pair.answer == prompt.NOTHING) == (not pair.targets)


def test_every_instruction_tells_its_target() -> None:
    rng = np.random.default_rng(4)
    forms = set()
    for target in scenes.TARGETS:
        for pair in instructions.pairs(rng, [target], [], 60):
            assert instructions.target_of(pair.instruction) == target, pair
            forms.add(instructions.form_of(pair.instruction))
    assert forms == {"statement", "question"}


def test_without_anything_known_there_is_no_pair() -> None:
    assert instructions.pairs(np.random.default_rng(0), [], [], 5) == []


def test_splits_share_no_ground_at_a_date() -> None:
    seen = {(picture.source, picture.date) for picture in real.load(DATA, "train")}
    assert ("naip", real.HELD_OUT_NAIP) not in seen
    assert ("slovenia", real.HELD_OUT_SLOVENIA) not in seen
    widths = [picture.rgb.shape[1] for picture in real.load(DATA, "train") if picture.source == "naip"]
    held = [picture.rgb.shape[1] for picture in real.load(DATA, "held-out") if picture.date == "2009-08-18"]
    assert widths[0] + held[0] == 934


def test_crops_keep_image_and_masks_together() -> None:
    rng = np.random.default_rng(5)
    for picture in real.load(DATA, "train"):
        scene = real.crop(rng, picture)
        assert scene.image.shape[2] == 3
        assert all(mask.shape == scene.image.shape[:2] for mask in scene.masks.values())
        assert not set(scene.absent) & set(scene.masks)


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="naip-cottonwood"):
        real.load(tmp_path, "train")
