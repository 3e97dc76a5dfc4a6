"""What runs on a GPU, run on a device that is as strict as one: nothing is mixed, and nothing waits needlessly."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from segwatch.flows.cli import app
from segwatch.model import model_version, parity, pretrained
from segwatch.model.errors import InputError
from segwatch.model.predictor import Prediction, Predictor
from segwatch.model.text_generation import Sampling
from segwatch.model.train import batches, scenes
from segwatch.model.train.config import Mix
from segwatch.model.train.loop import TrainingObjective
from tests.support.far_device import DEVICE, FarDevice

QUESTIONS = ("segment the water", "Where are the roads?", "the forest")
NUMBER, PICKED = "aten._local_scalar_dense.default", "aten.index.Tensor"
BACK = MOVED = "aten._to_copy.default"
MADE = "constructor"


def _images() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (256, side, 3), dtype=np.uint8) for side in (256, 200)]


def _assert_same(ours: list[list[Prediction]], theirs: list[list[Prediction]]) -> None:
    for one, other in zip(chain(*ours), chain(*theirs), strict=True):
        assert one.text == other.text
        np.testing.assert_allclose(one.mask_logits, other.mask_logits, atol=1e-4)


def test_tensors_on_two_devices_are_refused() -> None:
    with FarDevice() as far:
        there = torch.ones(3, device=DEVICE)
        assert there.device == DEVICE
        with pytest.raises(RuntimeError, match="on the CPU and on the far device"):
            there + torch.ones(3)
        assert not far.waits
        assert float((there * 2).sum()) == 6.0
        assert there[there > 0].cpu().tolist() == [1.0, 1.0, 1.0]
        assert there[torch.tensor([0])].shape == (1,)
        torch.tensor([2.0], device=DEVICE)
        torch.tensor([2.0]).to(DEVICE, non_blocking=True)
        torch.tensor([2.0]).to(DEVICE)
    assert far.waits == [NUMBER, PICKED, BACK, PICKED, MADE, MOVED]


@pytest.mark.parametrize("sampling", [None, Sampling(1.2, seed=3)])
def test_a_device_gives_the_predictions_of_the_cpu(sampling: Sampling | None) -> None:
    expected = Predictor.load(device="cpu").segment(_images(), QUESTIONS, sampling)
    with FarDevice():
        answers = Predictor.load(device=str(DEVICE)).segment(_images(), QUESTIONS, sampling)
    assert any(len(answer.mask_logits) for row in expected for answer in row)
    _assert_same(answers, expected)


def test_the_device_is_waited_for_once_per_token_and_result() -> None:
    tokens = 5
    with FarDevice() as far:
        predictor = Predictor.load(device=str(DEVICE), dtype=torch.bfloat16, max_new_tokens=tokens)
        far.waits.clear()
        encoded = predictor.encode(_images())
        # one in each of the pixel decoder's layers, which are transformers' own
        assert far.waits == [MADE] * predictor._model.config.mask.encoder_layers
        far.waits.clear()
        predictor.predict(encoded, QUESTIONS)
        # whether all have ended, after each token; then the words of all, in one piece
        assert far.waits == [NUMBER] * tokens + [BACK]
        predictor = Predictor.load(device=str(DEVICE), dtype=torch.bfloat16)
        encoded = predictor.encode(_images())
        far.waits.clear()
        answers = predictor.predict(encoded, QUESTIONS)
        assert all(len(answer.mask_logits) for row in answers for answer in row)
        # the same, then masks and presence of each image
        said = far.waits.count(NUMBER)
        assert far.waits == [NUMBER] * said + [BACK] * (1 + 2 * len(encoded.image_shapes))


def test_a_device_matches_the_reference(oracle: Path) -> None:
    with FarDevice():
        diffs = parity.compare_with_reference(oracle, device=DEVICE)
    assert len(diffs) == 40
    assert {diff.stage: diff.max_abs_diff for diff in diffs if not diff.max_abs_diff <= 1e-4} == {}


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("gpu", "'gpu' is unknown; give auto, cpu, cuda"),
        ("cuda:99", "'cuda:99' is not available.* give auto or cpu"),
    ],
)
def test_a_missing_device_is_named(device: str, says: str, oracle: Path) -> None:
    with pytest.raises(InputError, match=says):
        Predictor.load(device=device)
    done = CliRunner().invoke(app, ["model", "parity", str(oracle), "--device", device])
    assert (done.exit_code, done.stderr.startswith("error: device")) == (1, True)


def test_a_training_step_gives_the_gradients_of_the_cpu() -> None:
    made = [scenes.make_scene(seed, 64) for seed in (0, 3, 4)]
    loaded = pretrained.load_pretrained(model_version.resolve_model_folder(None), "cpu")
    objective = TrainingObjective(loaded.model.requires_grad_(True))
    batch = batches.build_batch(
        batches.SceneSource(made, [], 0.0, Mix()),
        loaded.tokenizer,
        loaded.model.config,
        seed=1,
        step=0,
        images=2,
        pairs_per_image=2,
        size=128,
    )
    assert len(batch.masks)

    def learned(kept: torch.device) -> dict[str, torch.Tensor]:
        parts = objective(batch.to(kept), 64, 5)
        sum(parts.values()).backward()
        found = {
            name: value.grad.cpu() for name, value in objective.named_parameters() if value.grad is not None
        }
        objective.zero_grad(set_to_none=True)
        return {**{name: part.detach().cpu() for name, part in parts.items()}, **found}

    expected = learned(torch.device("cpu"))
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FarDevice():
            objective.to(DEVICE)
            torch.testing.assert_close(learned(DEVICE), expected, atol=1e-4, rtol=1e-3)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
