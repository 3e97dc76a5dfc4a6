"""The objective against the reference's numbers, and its edge cases."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from segwatch.model.train import losses
from tests.support import oracle


@pytest.fixture(scope="module")
def stages() -> dict[str, Tensor]:
    recorded = load_file(oracle.FOLDER / "stages.safetensors")
    recorded["stage.gt_masks"] = recorded["stage.gt_masks"].float()
    return recorded


def test_attention_grid_is_the_references(stages: dict[str, Tensor]) -> None:
    assert torch.equal(
        losses.make_attention_grid(stages["stage.gt_masks"][:, 0]), stages["stage.gt_masks_27"]
    )


def test_attention_loss_is_the_references(stages: dict[str, Tensor]) -> None:
    grid = stages["stage.gt_masks_27"]
    layers = [losses.compute_attention_loss(stages[f"stage.seg_image_attention.{k}"], grid) for k in range(3)]
    for k, value in enumerate(layers):
        torch.testing.assert_close(value, stages[f"stage.attention_loss.{k}"])
    torch.testing.assert_close(torch.stack(layers).sum(), stages["stage.attention_loss_total"])


def test_mask_losses_are_the_references(stages: dict[str, Tensor]) -> None:
    cross_entropy, dice = losses.compute_point_losses(
        stages["stage.pred_masks"][:, 0], stages["stage.gt_masks"][:, 0], stages["stage.loss_points"]
    )
    torch.testing.assert_close(cross_entropy, stages["stage.loss_mask_at_points"])
    torch.testing.assert_close(dice, stages["stage.loss_dice_at_points"])


def test_language_loss_is_the_references(stages: dict[str, Tensor]) -> None:
    answers = torch.tensor(json.loads((oracle.FOLDER / "config.json").read_text())["answers"])
    # the first row of logits belongs to the last prompt token, whose own label does not count
    labels = torch.cat([torch.full((2, 1), losses.IGNORE_LABEL), answers], dim=1)
    torch.testing.assert_close(
        losses.compute_language_loss(stages["stage.logits_at_answer"], labels), stages["stage.loss_language"]
    )


def test_sampled_points_prefer_uncertain_places() -> None:
    logits = torch.linspace(8.0, -8.0, 32).expand(1, 32, 32)  # least sure along the middle column
    points = losses.sample_points(logits, 400, torch.Generator().manual_seed(0))
    assert points.shape == (1, 400, 2)
    assert 0 <= points.min() <= points.max() <= 1
    near = ((points[0, :, 0] - 0.5).abs() < 0.1).float()
    assert near[:300].mean() > 2 * near[300:].mean()


def test_no_targets_give_zero() -> None:
    none = torch.zeros(0, 8, 8, requires_grad=True)
    cross_entropy, dice = losses.compute_point_losses(none, torch.zeros(0, 8, 8), torch.zeros(0, 4, 2))
    assert cross_entropy.item() == dice.item() == 0.0
    assert losses.compute_attention_loss(torch.zeros(0, 9), torch.zeros(0, 3, 3)).item() == 0.0


def test_an_empty_mask_can_be_learned() -> None:
    """Without any true pixel the losses lead to an empty prediction."""
    logits = torch.full((1, 16, 16), 2.0, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=20.0)
    for step in range(200):
        points = losses.sample_points(logits, 128, torch.Generator().manual_seed(step))
        cross_entropy, dice = losses.compute_point_losses(logits, torch.zeros(1, 16, 16), points)
        optimizer.zero_grad()
        (cross_entropy + dice).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (logits < 0).all()
    sure = losses.compute_point_losses(torch.full((1, 16, 16), -20.0), torch.zeros(1, 16, 16), points)
    assert sure[0].item() < 1e-6
    assert sure[1].item() < 1e-3


def test_empty_and_full_grids_stay_finite() -> None:
    rows = torch.full((2, 9), 1 / 9)
    grid = torch.stack([torch.zeros(3, 3), torch.ones(3, 3)])
    expected = -torch.log(torch.tensor((1 / 9) ** 2 + 1e-8)) / 2
    torch.testing.assert_close(losses.compute_attention_loss(rows, grid), expected)


def test_grid_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="one grid cell per image token"):
        losses.compute_attention_loss(torch.zeros(1, 9), torch.zeros(1, 4, 4))
