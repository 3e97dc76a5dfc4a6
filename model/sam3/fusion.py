"""Fuse SAM 3's heads for one concept on one image, as SegEarth-OV3 does (arXiv 2512.08730).

The semantic head covers land that has no clear objects, the instance head separates objects, and the presence head
says whether there is anything at all: the larger of both probabilities, times presence.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segwatch.model.sam3.concepts import ConceptPrediction

#: Least score of an instance, presence included.
MIN_SCORE = 0.5
#: Instances that overlap a surer one by more (IoU) are the same object again.
_SAME_OBJECT = 0.5


def fuse_heads(
    masks: Tensor, logits: Tensor, semantic: Tensor, presence_logit: Tensor, shape: tuple[int, int]
) -> ConceptPrediction:
    """Fuse the outputs for one concept on one image.

    Parameters
    ----------
    masks
        (Q, h, w) mask logits of the queries.
    logits
        (Q,) logits that a query is the concept, given that it is present.
    semantic
        (h, w) logits of the semantic head.
    presence_logit
        () logit that the concept is present.
    shape
        (H, W) of the image.
    """
    presence = presence_logit.float().sigmoid()
    chances = logits.float().sigmoid()
    chosen = select_instances(masks, chances, presence)
    fused = _resize(semantic, shape).sigmoid()
    best = torch.full_like(fused, 0.5)
    instances = torch.zeros(shape, dtype=torch.int32, device=masks.device)
    # one at a time: all at full size would take gigabytes
    for number, at in enumerate(chosen, 1):
        inside = _resize(masks[at], shape).sigmoid()
        fused = torch.maximum(fused, chances[at] * inside)
        nearer = inside > best
        instances[nearer] = number
        best = torch.maximum(best, inside)
    probabilities = (fused * presence).cpu().numpy()
    return ConceptPrediction(probabilities, instances.cpu().numpy(), float(presence))


def select_instances(masks: Tensor, chances: Tensor, presence: Tensor) -> list[int]:
    """Select the queries that show an object of their own, the surest first.

    Parameters
    ----------
    masks
        (Q, h, w) mask logits.
    chances
        (Q,) probabilities that a query is the concept, given that it is present.
    presence
        () probability that it is.
    """
    scores = chances * presence
    order = scores.argsort(descending=True, stable=True).tolist()
    chosen: list[int] = []
    for at in order:
        if scores[at] < MIN_SCORE:
            break
        inside = masks[at] > 0
        if inside.any() and not any(_compute_iou(inside, masks[one] > 0) > _SAME_OBJECT for one in chosen):
            chosen.append(at)
    return chosen


def _compute_iou(one: Tensor, other: Tensor) -> float:
    return float((one & other).sum() / (one | other).sum().clamp(min=1))


def _resize(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None, None].float(), size=shape, mode="bilinear", align_corners=False)[0, 0]
