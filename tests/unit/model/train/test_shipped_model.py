"""The shipped weights beat the baselines on a little held-out material."""

from __future__ import annotations

import json

import numpy as np
import pytest

from segwatch.model import evaluate, metrics, model_version
from segwatch.model.predictor import Predictor
from tests.support.paths import ROOT

DATA = ROOT / "demo" / "imagery"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(None, "cpu")


#: A prediction takes most of a second; the card's table has all examples.
FEW = 8


def examples_of(target: str, first_seed: int, *, present: bool = True) -> list[evaluate.MaskExample]:
    """Examples with the target, or without it."""
    examples = evaluate.make_examples(first_seed, 40, simple=True)
    return [item for item in examples if item.target == target and item.truth.any() == present]


@pytest.mark.parametrize("target", ["burned", "building"])
def test_plain_shapes(predictor: Predictor, target: str) -> None:
    tuning, held_out = examples_of(target, 500_000), examples_of(target, 0)[:FEW]
    (row,) = evaluate.compare_with_baselines(predictor, "plain shapes", tuning, held_out)
    assert row.targets == FEW
    assert row.beats_baselines, row


@pytest.mark.parametrize("land", [(95, 120, 75), (150, 130, 100), (60, 90, 50)])
def test_a_blue_lake_on_land(predictor: Predictor, land: tuple[int, int, int]) -> None:
    lake = np.zeros((256, 256), dtype=np.bool_)
    lake[60:140, 80:200] = True
    noise = np.random.default_rng(0).normal(0.0, 4.0, (256, 256, 3))
    image = np.where(lake[:, :, None], (40, 75, 120), land) + noise
    found = evaluate.predict_mask(predictor, image.clip(0, 255).astype(np.uint8), "water")
    assert metrics.compute_overlap(found, lake).iou > 0.9


def test_water_on_held_out_imagery(predictor: Predictor) -> None:
    held_out = evaluate.load_examples(
        DATA, "held-out", "naip", dates={"2009-08-18", "2010-06-29", "2014-07-20"}
    )
    tuning = evaluate.load_examples(DATA, "train", "naip")
    (row,) = evaluate.compare_with_baselines(predictor, "naip", tuning, held_out)
    assert row.beats_baselines, row


@pytest.mark.parametrize(("target", "most"), [("burned", 2), ("building", 4)])
def test_absent_targets_are_mostly_not_found(predictor: Predictor, target: str, most: int) -> None:
    absent = examples_of(target, 0, present=False)[:FEW]
    found = [bool(evaluate.predict_mask(predictor, item.image, target).any()) for item in absent]
    assert len(found) == FEW
    assert sum(found) <= most


def test_two_targets_come_in_order(predictor: Predictor) -> None:
    image = evaluate.make_examples(0, 1)[0].image
    ((answer,),) = predictor.predict(predictor.encode([image]), ["segment the water and the forest"])
    assert answer.mask_logits.shape[0] <= 2
    assert answer.mask_logits.shape[0] == answer.text.count("[SEG]")


def test_the_model_card_describes_these_weights() -> None:
    folder = model_version.SHIPPED_MODEL
    places, instructions = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("places.json", "evaluation.json")
    )
    assert places["model"] == instructions["model"] == model_version.compute_version(folder)
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    claims = card[card.index("## What it can do") : card.index("No claim is made")]
    for row in places["rows"]:
        where = f"| {row['dataset']} | {row['target']} | {row['pictures']} ({row['places']}) | {row['c_iou']:.3f} |"
        assert where in card
        assert (f"- {row['target']} in {row['dataset']} (" in claims) == row["ahead"], row
    for row in places["absences"]:
        assert f"| {row['dataset']} | {row['target']} | {row['pictures']} | {row['marked']:.0%} |" in card
    for row in instructions["dimensions"]:
        wanted = f"| {row['group']} | {row['instructions']} | {row['g_iou']:.3f} | {row['c_iou']:.3f} |"
        assert wanted in card
