"""Made scenes, real pictures and instructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwatch.model import prompt
from segwatch.model.errors import InputError
from segwatch.model.train import batches, demo_imagery, instructions, scenes
from segwatch.model.train.config import Mix
from tests.support.paths import ROOT

DATA = ROOT / "demo" / "imagery"


def test_a_seed_always_gives_the_same_scene() -> None:
    one, other = scenes.make_scene(11), scenes.make_scene(11)
    assert np.array_equal(one.image, other.image)
    assert one.masks.keys() == other.masks.keys()
    assert all(np.array_equal(one.masks[name], other.masks[name]) for name in one.masks)
    assert not np.array_equal(one.image, scenes.make_scene(12).image)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_masks_are_disjoint_and_absent_targets_are_not_there(seed: int, plain: bool) -> None:
    scene = scenes.make_plain_scene(seed, 96) if plain else scenes.make_scene(seed, 96)
    assert scene.image.shape == (96, 96, 3)
    assert scene.image.dtype == np.uint8
    covered = np.zeros((96, 96), dtype=int)
    for mask in scene.masks.values():
        covered += mask
    assert covered.max(initial=0) <= 1
    assert not set(scene.absent) & set(scene.masks)


def test_a_scene_holds_only_its_settings_classes() -> None:
    small = scenes.SceneSettings(("water", "forest"), (10,))
    for seed in range(20):
        scene = scenes.make_scene(seed, 64, small)
        assert {*scene.masks, *scene.absent} <= {"water", "forest"}
        assert scene.gsd_m == 10
    made = [scenes.make_scene(seed, 64) for seed in range(60)]
    assert {name for scene in made for name in scene.masks} == set(scenes.TARGETS)
    assert {scene.gsd_m for scene in made} == set(scenes.GSD_M)


def test_twice_the_ground_sample_distance_halves_all_sizes() -> None:
    def borders(gsd_m: scenes.Gsd) -> float:
        """Changes of class per pixel along rows; plain shapes come at one distance alone."""
        found = [scenes.make_scene(seed, 128, scenes.SceneSettings(gsd_m=(gsd_m,))) for seed in range(60)]
        masks = [mask for scene in found if scene.gsd_m == gsd_m for mask in scene.masks.values()]
        return float(np.mean([(mask[:, 1:] != mask[:, :-1]).mean() for mask in masks]))

    assert borders(5) * 1.4 < borders(20)


def test_an_image_and_its_masks_are_resampled_alike() -> None:
    for gsd_m in scenes.GSD_M:
        world = scenes.SceneSettings(("road", "burned"), (gsd_m,))
        for seed in range(40):
            scene = scenes.make_scene(seed, 128, world)
            if "burned" in scene.masks and scene.gsd_m == gsd_m:
                burned = scene.masks["burned"]
                light = scene.image.mean(axis=2)
                if 0.1 < burned.mean() < 0.9:
                    assert light[burned].mean() < light[~burned].mean()


def test_answers_name_one_seg_per_target() -> None:
    rng = np.random.default_rng(3)
    for pair in instructions.draw_pairs(rng, ["forest", "water"], ["burned"], 60, Mix()):
        assert pair.answer.count(prompt.SEG) == len(pair.targets)
        assert (pair.answer == prompt.NOTHING) == (not pair.targets)


def test_every_instruction_identifies_its_target() -> None:
    rng = np.random.default_rng(4)
    forms = set()
    for target in scenes.TARGETS:
        for pair in instructions.draw_pairs(rng, [target], [], 60, Mix()):
            assert instructions.find_target(pair.instruction) == target, pair
            forms.add(instructions.get_form(pair.instruction))
    assert forms == {"statement", "question", "unnamed"}


def test_instructions_follow_the_mix() -> None:
    rng, mix = np.random.default_rng(5), Mix(absent=0.4, two=0.2, three=0.1)
    pairs = instructions.draw_pairs(rng, ["water", "forest", "field"], ["road"], 1000, mix)
    shares = [sum(len(pair.targets) == number for pair in pairs) / 1000 for number in range(4)]
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.05)


def test_an_absent_target_is_denied_or_given_an_empty_mask() -> None:
    scene = scenes.Scene(np.zeros((8, 8, 3), np.uint8), {"water": np.ones((8, 8), np.bool_)}, ("road",))
    material = batches.SceneSource([scene], [], 0.0, Mix(absent=0.5, empty=0.5))
    asked = material.draw_image(np.random.default_rng(0), 200).pairs
    denied = [one for one in asked if one.answer == prompt.NOTHING]
    pointed = [one for one in asked if one.answer == "Sure, it is roads [SEG]."]
    assert all(one.masks == () for one in denied)
    assert all(not one.masks[0].any() for one in pointed)
    assert len(denied) / 200 == pytest.approx(0.25, abs=0.1)
    assert len(pointed) / 200 == pytest.approx(0.25, abs=0.1)
    assert all(one.masks[0].all() for one in asked if one not in denied and one not in pointed)


@pytest.mark.parametrize("balanced", [True, False])
def test_targets_that_few_scenes_hold_are_not_mostly_absent_when_asked_for(balanced: bool) -> None:
    made = [scenes.make_scene(seed, 48) for seed in range(150)]
    material = batches.SceneSource(made, [], 0.0, Mix(absent=0.4, two=0, three=0, balanced=balanced))
    rng = np.random.default_rng(1)
    there: dict[str, list[bool]] = {}
    for _ in range(1500):
        for one in material.draw_image(rng, 2).pairs:
            there.setdefault(instructions.find_target(one.instruction), []).append(bool(one.masks))
    shares = {name: float(np.mean(values)) for name, values in there.items()}
    spread = max(shares.values()) - min(shares.values())
    assert (spread < 0.3) == balanced, shares


def test_without_labels_there_is_no_pair() -> None:
    assert instructions.draw_pairs(np.random.default_rng(0), [], [], 5, Mix()) == []


def test_splits_share_no_pixel_of_a_date() -> None:
    seen = {(picture.source, picture.date) for picture in demo_imagery.load_pictures(DATA, "train")}
    assert ("naip", demo_imagery.HELD_OUT_NAIP) not in seen
    assert ("slovenia", demo_imagery.HELD_OUT_SLOVENIA) not in seen
    widths = [
        picture.rgb.shape[1]
        for picture in demo_imagery.load_pictures(DATA, "train")
        if picture.source == "naip"
    ]
    held = [
        picture.rgb.shape[1]
        for picture in demo_imagery.load_pictures(DATA, "held-out")
        if picture.date == "2009-08-18"
    ]
    assert widths[0] + held[0] == 934


def test_crops_keep_image_and_masks_together() -> None:
    rng = np.random.default_rng(5)
    for picture in demo_imagery.load_pictures(DATA, "train"):
        scene = demo_imagery.draw_crop(rng, picture)
        assert scene.image.shape[2] == 3
        assert all(mask.shape == scene.image.shape[:2] for mask in scene.masks.values())
        assert not set(scene.absent) & set(scene.masks)


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="naip-cottonwood"):
        demo_imagery.load_pictures(tmp_path, "train")
