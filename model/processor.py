"""Make the two views of an image that the model takes, and resize masks back to the image.

The mask view keeps the aspect ratio and is padded to a square; the language view is stretched. Source: the published
code of SegEarth-R2 (arXiv 2512.20013). Resizing is antialiased, like PIL's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwatch.model.errors import InputError

_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
_PADDING = 128


class ImageShape(NamedTuple):
    """Size of an image, pixels; rows before columns, as in ``array.shape``."""

    height: int
    width: int


def compute_resized_shape(shape: ImageShape, size: int) -> ImageShape:
    """Compute the shape after the long side is resized to ``size``, rounded half up, at least 1."""
    scale = size / max(shape)
    return ImageShape(*(max(int(side * scale + 0.5), 1) for side in shape))


def make_mask_view(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """Make the mask view: (H, W, 3) uint8 -> (3, size, size) float32, padded right or bottom, normalised."""
    return normalise_mask_view(resize_for_mask(rgb, size))


def resize_for_mask(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """Resize (H, W, 3) uint8 -> (3, size, size) uint8, aspect ratio kept, padded right or bottom with grey."""
    shape = compute_resized_shape(ImageShape(*_check_image(rgb).shape[:2]), size)
    resized = _resize(rgb, shape, "bilinear")
    return F.pad(resized, (0, size - shape.width, 0, size - shape.height), value=_PADDING)


def normalise_mask_view(pixels: Tensor) -> Tensor:
    """Normalise (..., 3, S, S) uint8 -> float32 by the mean and standard deviation of ImageNet."""
    mean, std = (
        torch.tensor(each)[:, None, None].to(pixels.device, non_blocking=True) for each in (_MEAN, _STD)
    )
    return (pixels.float() - mean) / std


def make_language_view(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """Make the language view: (H, W, 3) uint8 -> (3, size, size) float32 in -1..1, stretched to a square."""
    return normalise_language_view(resize_for_language(rgb, size))


def resize_for_language(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """Resize (H, W, 3) uint8 -> (3, size, size) uint8, stretched to a square."""
    return _resize(_check_image(rgb), ImageShape(size, size), "bicubic")


def normalise_language_view(pixels: Tensor) -> Tensor:
    """Normalise (..., 3, S, S) uint8 -> float32 in -1..1."""
    return pixels.float() / 127.5 - 1.0


def make_truth_view(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize an image's (H, W) mask to (size, size) as in the mask view: nearest neighbour, False in the padding."""
    height, width = compute_resized_shape(ImageShape(*mask.shape), size)
    view = torch.zeros(1, 1, size, size)
    values = torch.tensor(mask)[None, None].float()
    view[:, :, :height, :width] = F.interpolate(values, size=(height, width), mode="nearest-exact")
    return view[0, 0].numpy() > 0


def restore_image_size(logits: Tensor, shape: ImageShape, size: int) -> Tensor:
    """Resize mask logits from the mask view to the image.

    Parameters
    ----------
    logits
        (M, h, w) over the mask view, any h and w.
    shape
        Shape of the image.
    size
        Side of the mask view, pixels.

    Returns
    -------
    Tensor
        (M, height, width), same dtype.
    """
    if logits.shape[0] == 0:
        return logits.new_zeros(0, *shape)
    inner = compute_resized_shape(shape, size)
    full = F.interpolate(logits[:, None], size=(size, size), mode="bilinear", align_corners=False)
    unpadded = full[:, :, : inner.height, : inner.width]
    if inner == shape:
        return unpadded[:, 0]
    return F.interpolate(unpadded, size=shape, mode="bilinear", align_corners=False)[:, 0]


def _check_image(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise InputError(f"image is {rgb.dtype} {rgb.shape}; give (H, W, 3) uint8 RGB with pixels")
    return rgb


def _resize(rgb: NDArray[np.uint8], shape: ImageShape, mode: str) -> Tensor:
    """Resize to (3, height, width) uint8."""
    image = torch.from_numpy(np.array(rgb, order="C")).permute(2, 0, 1)[None]
    if tuple(image.shape[2:]) != shape:
        # resize bytes, as PIL does: it rounds after each of the two directions
        image = F.interpolate(image, size=shape, mode=mode, align_corners=False, antialias=True)
    return image[0].contiguous()
