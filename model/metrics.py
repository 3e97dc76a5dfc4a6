"""Segmentation metrics per target mask, as in SegEarth-R2's evaluation (arXiv 2512.20013)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segwatch.model.errors import InputError

Mask = NDArray[np.bool_]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Overlap:
    """Pixels in the intersection and the union of a prediction and the truth."""

    intersection: int
    union: int

    @property
    def iou(self) -> float:
        """Intersection over union; 1 if both are empty."""
        return 1.0 if self.union == 0 else self.intersection / self.union


@dataclass(frozen=True)
class Summary:
    """Metrics over many targets."""

    targets: int
    g_iou: float
    """Mean of the targets' IoU (called mIoU in the referring benchmarks)."""
    c_iou: float
    """Summed intersection over summed union; 1 if all are empty."""
    precision_at: dict[float, float]
    """Threshold -> share of targets with at least that IoU."""


def compute_overlap(predicted: Mask, truth: Mask) -> Overlap:
    """Compare two masks of one target.

    Parameters
    ----------
    predicted, truth
        (H, W) bool.

    Raises
    ------
    InputError
        The shapes differ.
    """
    if predicted.shape != truth.shape:
        raise InputError(
            f"prediction is {predicted.shape}, truth is {truth.shape}; resize the prediction to the image first"
        )
    return Overlap(int(np.logical_and(predicted, truth).sum()), int(np.logical_or(predicted, truth).sum()))


def compare_in_order(predicted: Sequence[Mask], truth: Sequence[Mask]) -> list[Overlap]:
    """Compare an instruction's targets in the order of their [SEG] tokens.

    As in the published code, missing masks are filled with the last one and surplus masks are dropped. If there
    are no masks, every target is compared with an empty mask.
    """
    padded = list(predicted[: len(truth)])
    while len(padded) < len(truth):
        padded.append(padded[-1] if padded else np.zeros_like(truth[0]))
    return [compute_overlap(mask, true) for mask, true in zip(padded, truth, strict=True)]


def compare_in_best_order(predicted: Sequence[Mask], truth: Sequence[Mask]) -> list[Overlap]:
    """Compare an instruction's targets in the order with the largest summed IoU.

    Targets without a mask are compared with an empty mask; surplus masks are ignored.
    """
    if not truth:
        return []
    empty = np.zeros_like(truth[0])
    candidates = [*predicted, *[empty] * max(len(truth) - len(predicted), 0)]
    table = [[compute_overlap(mask, true) for mask in candidates] for true in truth]
    scores = np.array([[cell.iou for cell in row] for row in table])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return [table[int(row)][int(column)] for row, column in zip(rows, columns, strict=True)]


def summarise(overlaps: Sequence[Overlap]) -> Summary:
    """Compute all metrics of a set of targets.

    Raises
    ------
    InputError
        There are no targets, so no mean exists.
    """
    if not overlaps:
        raise InputError("no targets to summarise: give at least one overlap")
    ious = np.array([item.iou for item in overlaps])
    total = Overlap(sum(item.intersection for item in overlaps), sum(item.union for item in overlaps))
    return Summary(
        targets=len(overlaps),
        g_iou=float(ious.mean()),
        c_iou=total.iou,
        precision_at={threshold: float((ious >= threshold).mean()) for threshold in THRESHOLDS},
    )
