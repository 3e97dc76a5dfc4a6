"""Encode pictures as PNG and JPEG, in memory; Pillow is imported when the first one is encoded."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture (h, w, 3 or 4), RGB or RGBA, as PNG."""
    from PIL import Image

    into = io.BytesIO()
    Image.fromarray(picture).save(into, "PNG")
    return into.getvalue()


def encode_jpeg(picture: NDArray[np.uint8], *, quality: int, comment: str = "") -> bytes:
    """Encode an RGB picture (h, w, 3) as JPEG of a quality from 1 to 95, with a comment in its header."""
    from PIL import Image

    into = io.BytesIO()
    Image.fromarray(picture).save(into, "JPEG", quality=quality, comment=comment.encode())
    return into.getvalue()
