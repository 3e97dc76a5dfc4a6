"""Pictures of a scene without any polygons, which carry their place: backgrounds of a briefing's maps."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from segwatch.geo.encoding import encode_jpeg

#: Larger ones are none of ours.
_MAX_SIDE_PX = 4096
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class GroundPicture:
    """A picture of the ground."""

    rgb: NDArray[np.uint8]
    """(3, height, width); black where the scene has no data."""
    crs: CRS
    transform: Affine
    """Pixel corner to ``crs``."""


def name_file(quicklook: str) -> str:
    """Return the path of the picture that belongs to a quicklook."""
    return f"{quicklook.removesuffix('.jpg')}.ground.jpg"


def encode(picture: GroundPicture) -> bytes:
    """Encode as JPEG; CRS and transform stand in its comment."""
    comment = json.dumps({"crs": picture.crs.to_string(), "transform": list(picture.transform)[:6]})
    return encode_jpeg(np.moveaxis(picture.rgb, 0, -1), quality=_QUALITY, comment=comment)


def decode(jpeg: bytes) -> GroundPicture | None:
    """Decode what :func:`encode` wrote; None if it is no such picture."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            if picture.mode != "RGB" or max(picture.size) > _MAX_SIDE_PX:
                return None
            place = json.loads(picture.info["comment"])
            rgb = np.moveaxis(np.asarray(picture), -1, 0)
            return GroundPicture(rgb, CRS.from_user_input(place["crs"]), Affine(*place["transform"]))
    # OSError: it is no JPEG, or cut off
    except (OSError, Image.DecompressionBombError, CRSError, KeyError, TypeError, ValueError):
        return None
