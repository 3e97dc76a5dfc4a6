"""Pictures of a scene without any polygons, which carry their place: backgrounds of a briefing's maps."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

#: Larger ones are none of ours.
_MAX_SIDE_PX = 4096


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
    _, height, width = picture.rgb.shape
    made = {"driver": "JPEG", "height": height, "width": width, "count": 3, "dtype": "uint8", "QUALITY": 80}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.MemoryFile(ext=".jpg") as memory:
        # with a transform, GDAL does not warn that the file has none
        with memory.open(transform=Affine.translation(0, 1), COMMENT=comment, **made) as file:
            file.write(picture.rgb)
        content: bytes = memory.read()
        return content


def decode(jpeg: bytes) -> GroundPicture | None:
    """Decode what :func:`encode` wrote; None if it is no such picture."""
    try:
        with rasterio.MemoryFile(jpeg, ext=".jpg") as memory, memory.open() as file:
            if file.driver != "JPEG" or file.count != 3 or max(file.shape) > _MAX_SIDE_PX:
                return None
            place = json.loads(file.tags()["COMMENT"])
            return GroundPicture(file.read(), CRS.from_user_input(place["crs"]), Affine(*place["transform"]))
    except (rasterio.errors.RasterioError, CRSError, KeyError, TypeError, ValueError):
        return None
