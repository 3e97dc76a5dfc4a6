"""Background of a briefing's maps: the stored picture of a scene, moved onto the map's projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from affine import Affine
from rasterio.warp import Resampling, reproject
from sqlalchemy import RowMapping

from segwatch.flows.config.settings.imagery import QuicklookSettings
from segwatch.flows.report.frame import Frame
from segwatch.flows.runtime import ground_pictures, quicklook_store
from segwatch.flows.runtime.ground_pictures import GroundPicture
from segwatch.geo.encoding import encode_jpeg

#: Pixels per millimetre of the page, as many as the stored pictures have at most.
_PIXELS_PER_MM = 8
_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Background:
    """A picture of the ground and when it was taken."""

    picture: GroundPicture
    acquired_at: datetime


def read_background(
    settings: QuicklookSettings, observed: Sequence[RowMapping]
) -> tuple[Background | None, str]:
    """Read the picture of the newest observation that has one; else the message of the catalogue that says why not."""
    for row in reversed(observed):
        if row["preview"] is None:
            continue
        content = quicklook_store.read_file(settings, ground_pictures.name_file(row["preview"]))
        if content is None:
            continue
        picture = ground_pictures.decode(content)
        return (None, "map.unreadable") if picture is None else (Background(picture, row["acquired_at"]), "")
    return None, "map.no_imagery"


def fit_background(background: Background, frame: Frame) -> bytes:
    """Move a picture onto a map frame: JPEG, white where there is no picture."""
    width, height = round(frame.width * _PIXELS_PER_MM), round(frame.height * _PIXELS_PER_MM)
    side = 1 / (frame.scale * _PIXELS_PER_MM)
    target = Affine(side, 0, frame.left, 0, -side, frame.top)
    picture = background.picture
    # black is where the scene has no data; a real black pixel that turns white harms nobody
    bands = np.concatenate([picture.rgb, np.where(picture.rgb.any(0), 255, 0).astype(np.uint8)[None]])
    moved = np.zeros((4, height, width), np.uint8)
    reproject(
        bands, moved, src_transform=picture.transform, src_crs=picture.crs.to_wkt(), dst_transform=target,
        dst_crs=frame.crs.to_wkt(), resampling=Resampling.bilinear, init_dest_nodata=False,
    )  # fmt: skip
    rgb = np.where(moved[3] > 127, moved[:3], 255).astype(np.uint8)
    return encode_jpeg(np.moveaxis(rgb, 0, -1), quality=_QUALITY)
