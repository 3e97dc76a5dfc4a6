"""Train the mask branch on pixels alone: distinguish the targets before instructions select one.

Each target gets a query of its own, which the language model later learns to produce. An image trains all its targets
at once; a batch with instructions trains only those asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwatch.model import processor
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import batches
from segwatch.model.train.losses import compute_point_losses, sample_points
from segwatch.model.train.scenes import Scene

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PixelStageConfig:
    """Length and learning rate of the stage."""

    seed: int = 7
    steps: int = 400
    images: int = 6
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    num_points: int = 1024
    dense_weight: float = 5.0
    """Weight of the loss over all cells of the finest feature map."""


def train_pixel_stage(
    model: SegEarthR2,
    material: batches.SceneSource,
    targets: Sequence[str],
    config: PixelStageConfig,
    known: Tensor | None = None,
) -> Tensor:
    """Train the mask branch to distinguish the targets, on mask views of half the side.

    If the source's instructions may have empty masks, absent targets are trained too.

    Parameters
    ----------
    model
        Its mask encoder, pixel decoder and mask decoder are changed in place.
    material
        Source of scenes.
    targets
        Targets of the source.
    config
        Length and learning rate.
    known
        (targets, width) initial queries; None = random.

    Returns
    -------
    Tensor
        (targets, width) final query of each target, in order of ``targets``.
    """
    width = model.config.mask.width
    queries, heads = nn.Embedding(len(targets), width, _weight=known), nn.Conv2d(width, len(targets), 1)
    parts: Sequence[nn.Module] = (model.mask_encoder, model.pixel_decoder, model.mask_decoder, queries, heads)
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.01)
    losses = []
    for step in range(config.steps):
        warm = min((step + 1) / max(config.warmup_steps, 1), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warm * (1.0 - 0.5 * step / config.steps)
        rng = np.random.default_rng((config.seed, 2, step))
        drawn = [material.draw(rng) for _ in range(config.images)]
        generator = torch.Generator().manual_seed(config.seed + step)
        empty = material.mix.empty > 0
        loss = _compute_loss(model, drawn, targets, queries, heads, config, generator, empty=empty)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 25 == 0:
            _log.info("pixels step %d  loss %.3f", step + 1, sum(losses[-25:]) / 25)
    return queries.weight.detach().clone()


def _compute_loss(
    model: SegEarthR2,
    drawn: Sequence[Scene],
    targets: Sequence[str],
    queries: nn.Embedding,
    heads: nn.Conv2d,
    config: PixelStageConfig,
    generator: torch.Generator,
    *,
    empty: bool,
) -> Tensor:
    size = model.config.image_size // 2
    pixels = model.pixel_features(
        torch.stack([processor.make_mask_view(scene.image, size) for scene in drawn])
    )
    dense = heads(pixels.mask_features)
    target, masks, counts = [], [], [0] * len(drawn)
    cells = dense.new_zeros(())
    for index, scene in enumerate(drawn):
        for code, name in enumerate(targets):
            if name not in scene.masks and name not in scene.absent:
                continue  # not labelled in this scene
            there = scene.masks.get(name, np.zeros(scene.image.shape[:2], dtype=np.bool_))
            mask = batches.resize_mask_to_view(torch.from_numpy(there).float(), size)
            cells = cells + F.binary_cross_entropy_with_logits(dense[index, code], mask)
            if name in scene.masks or empty:
                counts[index] += 1
                target.append(code)
                masks.append(mask)
    total: Tensor = config.dense_weight * cells / len(drawn)
    if masks:
        predictions = model.decode(pixels, queries(torch.tensor(target)), counts)
        truth = torch.stack(masks)
        for logits in predictions:
            parts = compute_point_losses(logits, truth, sample_points(logits, config.num_points, generator))
            total = total + 2.0 * (parts[0] + parts[1])
    return total
