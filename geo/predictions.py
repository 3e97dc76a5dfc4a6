"""Combine the parts of a tile's prediction: presence and scores with its masks, and its masks with its instances."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from segwatch.geo.types.segmentation import TilePrediction

#: Probabilities are kept this far from 0 and 1, so that their logits are finite.
_MARGIN = 1e-4
#: Least logit of a pixel inside a mask: a low score makes a mask less sure, not empty.
_INSIDE = 1e-3


def to_logits(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert probabilities (...), 0..1, to logits: > 0 where the probability is above one half."""
    clipped = np.clip(probabilities.astype(np.float32), _MARGIN, 1 - _MARGIN)
    logits: NDArray[np.float32] = np.log(clipped / (1 - clipped)).astype(np.float32)
    return logits


def compute_logits(prediction: TilePrediction) -> NDArray[np.float32]:
    """Cap mask logits at the target's presence, and inside the mask at its score.

    A target that is probably absent then has an empty mask, and the score of a detection is at most the target's
    presence.

    Returns
    -------
    NDArray
        (M, H, W) logits, > 0 inside.
    """
    logits = prediction.mask_logits
    if prediction.scores is not None:
        caps = np.maximum(to_logits(np.array(prediction.scores, np.float32)), _INSIDE)
        logits = np.minimum(logits, caps[:, None, None])
    if prediction.presence is not None:
        caps = to_logits(np.array(prediction.presence, np.float32))
        logits = np.minimum(logits, caps[:, None, None])
    return logits


def complete_instances(instances: NDArray[np.int32], inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Give each pixel of a mask the nearest instance of its connected region; 0 where the region has none.

    Parameters
    ----------
    instances
        (H, W) number of the instance, 0 = none.
    inside
        (H, W) mask.

    Returns
    -------
    NDArray
        (H, W), 0 outside the mask.
    """
    found: NDArray[np.int32] = np.where(inside, instances, 0).astype(np.int32)
    if not found.any() or (found[inside] > 0).all():
        return found
    regions, _ = scipy.ndimage.label(inside)
    rows, cols = scipy.ndimage.distance_transform_edt(found == 0, return_distances=False, return_indices=True)
    same = inside & (regions[rows, cols] == regions)
    completed: NDArray[np.int32] = np.where(same, found[rows, cols], found)
    return completed
