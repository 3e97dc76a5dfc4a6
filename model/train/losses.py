"""Losses: mask loss at sampled points, spatial attention supervision, language loss.

Every function returns unweighted scalar tensors; the run's configuration has the weights. Source: SegEarth-R2, arXiv
2512.20013; the points are sampled as in PointRend, arXiv 1912.08193.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE_LABEL = -100
"""Label of positions that do not count in the language loss."""

_OVERSAMPLE = 3
_UNCERTAIN_SHARE = 0.75
_ATTENTION_EPSILON = 1e-8
_REFERENCE_SIDE = 800  # masks are resized to this side before the attention grid, as in the published code


def make_attention_grid(masks: Tensor, side: int = 27) -> Tensor:
    """Mark the cells of the image-token grid that a mask touches.

    Parameters
    ----------
    masks
        (T, H, W), 0 or 1, at the image's own size.
    side
        Cells per side of the image-token grid.

    Returns
    -------
    Tensor
        (T, side, side) float32, 1 where the resized mask is above 0.
    """
    at_reference = F.interpolate(
        masks[:, None].float(), size=(_REFERENCE_SIDE, _REFERENCE_SIDE), mode="nearest"
    )
    at_tokens = F.interpolate(at_reference, size=(side, side), mode="bilinear", align_corners=False)
    return (at_tokens[:, 0] > 0).float()


def compute_attention_loss(attn_rows: Tensor, gt_grid: Tensor) -> Tensor:
    """Compute the spatial attention loss of one language layer.

    Parameters
    ----------
    attn_rows
        (T, N) attention from each target's [SEG] position to the N image tokens, after the softmax and summed
        over heads.
    gt_grid
        (T, g, g) with g * g == N, 1 on cells the target touches.

    Returns
    -------
    Tensor
        Scalar: -log of the mean squared distance, inside the mask, to the mean attention outside it. Targets
        that touch no cell add 0 but count in the mean.
    """
    if attn_rows.shape[0] == 0:
        return attn_rows.sum() * 0.0
    inside = gt_grid.flatten(1).to(attn_rows.dtype)
    if inside.shape != attn_rows.shape:
        raise ValueError(
            f"attention rows {tuple(attn_rows.shape)} and grid {tuple(gt_grid.shape)} disagree: "
            "give one grid cell per image token"
        )
    outside = 1.0 - inside
    # With nothing outside the numerator is 0, so clamping the count gives the wanted mean of 0.
    mean_outside = (attn_rows * outside).sum(1) / outside.sum(1).clamp(min=1.0)
    count = inside.sum(1)
    distance = ((attn_rows - mean_outside[:, None]) ** 2 * inside).sum(1) / count.clamp(min=1.0)
    per_target = -torch.log(distance + _ATTENTION_EPSILON) * (count > 0)
    return per_target.sum() / attn_rows.shape[0]


def _sample_at(values: Tensor, points: Tensor) -> Tensor:
    """Sample (T, h, w) bilinearly at (T, P, 2) points, x then y in 0..1 -> (T, P)."""
    grid = points[:, None].to(values.dtype) * 2.0 - 1.0
    return F.grid_sample(values[:, None], grid, mode="bilinear", align_corners=False)[:, 0, 0]


@torch.no_grad()
def sample_points(logits: Tensor, num_points: int, generator: torch.Generator | None = None) -> Tensor:
    """Sample the points of the mask loss, most of them where the prediction is least certain.

    Parameters
    ----------
    logits
        (T, h, w) mask logits.
    num_points
        Points per mask.
    generator
        Random source on the CPU, so that every device draws the same points.

    Returns
    -------
    Tensor
        (T, num_points, 2) float32, x then y in 0..1: 75 % the least certain of three times as many uniform
        candidates, the rest uniform.
    """
    targets, device = logits.shape[0], logits.device
    candidates = torch.rand(targets, num_points * _OVERSAMPLE, 2, generator=generator).to(device)
    uncertain = int(_UNCERTAIN_SHARE * num_points)
    nearest_zero = (-_sample_at(logits.float(), candidates).abs()).topk(uncertain, dim=1).indices
    chosen = torch.gather(candidates, 1, nearest_zero[:, :, None].expand(-1, -1, 2))
    rest = torch.rand(targets, num_points - uncertain, 2, generator=generator).to(device)
    return torch.cat([chosen, rest], dim=1)


def compute_point_losses(
    logits: Tensor, masks: Tensor, points: Tensor, known: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute sigmoid cross-entropy and dice at given points.

    Parameters
    ----------
    logits
        (T, h, w) predicted mask logits at any size.
    masks
        (T, H, W) truth, 0 or 1.
    points
        (T, P, 2), x then y in 0..1.
    known
        (T, H, W) how much a point counts, 0..1; None is 1 everywhere.

    Returns
    -------
    tuple[Tensor, Tensor]
        Two scalars, each summed over targets and divided by their number (0 without targets).
    """
    if logits.shape[0] == 0:
        return logits.sum() * 0.0, logits.sum() * 0.0
    predicted = _sample_at(logits.float(), points)
    with torch.no_grad():
        truth = _sample_at(masks.float(), points)
        counts = None if known is None else _sample_at(known.float(), points)
    each = F.binary_cross_entropy_with_logits(predicted, truth, reduction="none")
    share = predicted.sigmoid()
    if counts is None:
        cross_entropy = each.mean(1)
    else:
        cross_entropy = (each * counts).sum(1) / counts.sum(1).clamp(min=1.0)
        share, truth = share * counts, truth * counts
    dice = 1.0 - (2.0 * (share * truth).sum(1) + 1.0) / (share.sum(1) + truth.sum(1) + 1.0)
    return cross_entropy.mean(), dice.mean()


def compute_language_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute next-token cross-entropy over the positions whose label counts.

    Parameters
    ----------
    logits
        (B, L, V) language head output.
    labels
        (B, L) int64 token ids, ``IGNORE_LABEL`` where the position does not count.

    Returns
    -------
    Tensor
        Scalar mean; label at position i is compared with the logits at i - 1.
    """
    return F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE_LABEL
    )
