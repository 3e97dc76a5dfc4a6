"""The two views of an image, and the way back from the mask view.

Source: SegEarth-R2's published baseline. Resizing is antialiased, as PIL's.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwatch.model.errors import InputError

_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
_PADDING = 128


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) after the long side became ``size``, rounded half up, at least 1."""
    scale = size / max(height, width)
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def mask_view(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, size, size) float32: aspect kept, padded right or bottom, normalised."""
    return as_mask_view(mask_pixels(rgb, size))


def mask_pixels(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, size, size) uint8: aspect kept, padded right or bottom with grey."""
    height, width = resized_shape(_checked(rgb).shape[0], rgb.shape[1], size)
    resized = _resize(rgb, height, width, "bilinear")
    return F.pad(resized, (0, size - width, 0, size - height), value=_PADDING)


def as_mask_view(pixels: Tensor) -> Tensor:
    """(..., 3, S, S) uint8 -> float32 normalised by the mean and spread of ImageNet."""
    mean, std = (
        torch.tensor(each)[:, None, None].to(pixels.device, non_blocking=True) for each in (_MEAN, _STD)
    )
    return (pixels.float() - mean) / std


def language_view(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, size, size) float32 in -1..1: stretched, aspect not kept."""
    return as_language_view(language_pixels(rgb, size))


def language_pixels(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, size, size) uint8: stretched, aspect not kept."""
    return _resize(_checked(rgb), size, size, "bicubic")


def as_language_view(pixels: Tensor) -> Tensor:
    """(..., 3, S, S) uint8 -> float32 in -1..1."""
    return pixels.float() / 127.5 - 1.0


def truth_view(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """(H, W) mask of an image -> (size, size) as the mask view shows it: nearest, nothing in the padding."""
    height, width = resized_shape(mask.shape[0], mask.shape[1], size)
    view = torch.zeros(1, 1, size, size)
    values = torch.tensor(mask)[None, None].float()
    view[:, :, :height, :width] = F.interpolate(values, size=(height, width), mode="nearest-exact")
    return view[0, 0].numpy() > 0


def undo(logits: Tensor, height: int, width: int, size: int) -> Tensor:
    """Mask logits back at the image's own size.

    Args:
        logits: (M, h, w) over the mask view, any h and w.
        height: of the image, pixels.
        width: of the image, pixels.
        size: side of the mask view.

    Returns:
        (M, height, width), same dtype.
    """
    if logits.shape[0] == 0:
        return logits.new_zeros(0, height, width)
    inner_height, inner_width = resized_shape(height, width, size)
    full = F.interpolate(logits[:, None], size=(size, size), mode="bilinear", align_corners=False)
    inner = full[:, :, :inner_height, :inner_width]
    if (inner_height, inner_width) == (height, width):
        return inner[:, 0]
    return F.interpolate(inner, size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def _checked(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise InputError(f"image is {rgb.dtype} {rgb.shape}; give (H, W, 3) uint8 RGB with pixels")
    return rgb


def _resize(rgb: NDArray[np.uint8], height: int, width: int, mode: str) -> Tensor:
    """(3, height, width) uint8."""
    image = torch.from_numpy(np.array(rgb, order="C")).permute(2, 0, 1)[None]
    if image.shape[2:] != (height, width):
        # on bytes, as PIL does: it rounds after each of the two directions
        image = F.interpolate(image, size=(height, width), mode=mode, align_corners=False, antialias=True)
    return image[0].contiguous()
