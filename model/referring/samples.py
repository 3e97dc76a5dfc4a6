"""One instruction on one image with its true masks, however a data set stores them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from segwatch.model import prompt
from segwatch.model.errors import DatasetError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ReferringSample:
    """One instruction on one image."""

    name: str
    """Unique within its data set."""
    image: Path
    instruction: str
    truth: Callable[[], list[Mask]]
    """Reads the true masks (H, W), in order of the answer; empty if there is nothing to segment."""
    answer: str = f"Sure, it is {prompt.SEG}."
    """Text to generate, with one [SEG] per mask."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Dimension -> the sample's group in it."""


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read (H, W, 3) uint8.

    Raises
    ------
    DatasetError
        The file is missing or not an image.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise DatasetError(f"{path}: not a readable picture ({error})") from error


def read_mask(path: Path) -> Mask:
    """Read (H, W), True where the image is not 0; transparency is ignored.

    Raises
    ------
    DatasetError
        The file is missing or not an image.
    """
    try:
        with Image.open(path) as picture:
            opaque = {"LA": "L", "RGBA": "RGB"}.get(picture.mode)
            values = np.asarray(picture if opaque is None else picture.convert(opaque))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise DatasetError(f"{path}: not a readable mask ({error})") from error
    return np.asarray(values.any(axis=2) if values.ndim == 3 else values != 0)


def decode_coco_mask(segmentation: Any, height: int, width: int) -> Mask:
    """Decode a mask in any of COCO's forms: compressed or plain run lengths, polygons, or a list of either.

    Raises
    ------
    DatasetError
        It has none of these forms.
    """
    from pycocotools import mask as coco  # here, because only these masks need it

    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    if not parts:
        return np.zeros((height, width), np.bool_)
    try:
        coded = [_encode_part(part, height, width) for part in parts]
        decoded = coco.decode(coco.merge([one for some in coded for one in some])).astype(np.bool_)
    except (TypeError, ValueError, KeyError) as error:
        raise DatasetError(f"not a COCO mask ({error})") from error
    if decoded.shape != (height, width):
        raise DatasetError(f"COCO mask is {decoded.shape}, its image {(height, width)}")
    return np.asarray(decoded)


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises
    ------
    DatasetError
        The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not readable JSON ({error})") from error


def resolve_inside(folder: Path, name: Any) -> Path:
    """Resolve a file name from a data set, which must stay inside the data set's folder.

    Raises
    ------
    DatasetError
        It does not.
    """
    path = folder / str(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{name!r} points outside {folder}")
    return path


def _encode_part(part: Any, height: int, width: int) -> list[Any]:
    """Encode one part as compressed run lengths."""
    from pycocotools import mask as coco

    if isinstance(part, dict):
        rows, columns = part["size"]
        counts = part["counts"]
        if isinstance(counts, list):
            return [
                coco.frPyObjects({"size": [rows, columns], "counts": [int(n) for n in counts]}, rows, columns)
            ]
        return [{"size": [int(rows), int(columns)], "counts": counts}]
    if isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0:
        return list(coco.frPyObjects([[float(number) for number in part]], height, width))
    raise ValueError(f"{part!r:.40} is neither run lengths nor a polygon")
