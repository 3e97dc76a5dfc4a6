"""Fill pixels without data from the pixels beside them: a model takes a black border for an object."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

#: Each round of mirroring fills about as much again as there is.
_MAX_ROUNDS = 8


def fill_by_mirroring(rgb: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill invalid pixels with their mirror image beyond the nearest valid pixel.

    Where there are too few valid pixels to mirror, those already filled are mirrored in turn.

    Parameters
    ----------
    rgb
        (h, w, 3) rendered pixels.
    valid
        (h, w) mask of the pixels that hold data.

    Returns
    -------
    NDArray[np.uint8]
        (h, w, 3) copy, contiguous. Without any valid pixel it equals ``rgb``.
    """
    filled, known = rgb.copy(order="C"), valid.copy()
    for _ in range(_MAX_ROUNDS if valid.any() else 0):
        if known.all():
            break
        missing = np.argwhere(~known).T
        near = _find_nearest(known)[:, *missing]
        mirrored = np.clip(2 * near - missing, 0, np.array(known.shape)[:, None] - 1)
        has_mirror = known[*mirrored] & (mirrored == 2 * near - missing).all(axis=0)
        target, source = missing[:, has_mirror], mirrored[:, has_mirror]
        if not target.size:
            break
        filled[*target] = filled[*source]
        known[*target] = True
    rest = np.argwhere(~known).T
    if rest.size and known.any():
        filled[*rest] = filled[*_find_nearest(known)[:, *rest]]
    return filled


def _find_nearest(known: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(2, h, w) row and column of the nearest known pixel of each pixel."""
    found: NDArray[np.intp] = scipy.ndimage.distance_transform_edt(
        ~known, return_distances=False, return_indices=True
    )
    return found
