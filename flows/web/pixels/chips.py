"""Chips: square pictures of a scene around a point, north up, in an equal-area CRS centred nearby."""

from __future__ import annotations

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from segwatch.flows.web.pixels import decoding
from segwatch.flows.web.pixels.shown import ShownScene
from segwatch.geo.crs import LONLAT, get_transformer, make_local_equal_area
from segwatch.geo.encoding import encode_png

#: Width and height of a chip, pixels.
CHIP_PX = 320
#: Largest width on the ground, metres.
MAX_CHIP_M = 50_000.0
#: Pixels of the source from side to side, unless a reader zooms.
SOURCE_PIXELS = 64
#: The cross: free middle and end of its arms, pixels from the middle, and its colours.
_ARM = (8, 24)
_DARK, _BRIGHT = (0, 0, 0), (255, 255, 0)


def make_chip_grid(lon: float, lat: float, width_m: float, size: int = CHIP_PX) -> GeoBox:
    """Make the pixel grid of a chip: ``size`` x ``size`` pixels, ``width_m`` metres wide, the point in the middle.

    Chips of one neighbourhood share their CRS, whose transformations are costly to make. North is up to 0.05 degrees.
    """
    crs = make_local_equal_area((round(lon, 1), round(lat, 1)))
    x, y = get_transformer(LONLAT, crs).transform(lon, lat)
    step = width_m / size
    return GeoBox((size, size), Affine(step, 0, x - width_m / 2, 0, -step, y + width_m / 2), crs)


def render_chip(shown: ShownScene, lon: float, lat: float) -> bytes:
    """Render a chip with a cross in its middle as PNG, for people who label outside the browser.

    Raises
    ------
    segwatch.geo.errors.GeoError
        See :func:`segwatch.flows.web.pixels.decoding.render`.
    """
    grid = make_chip_grid(lon, lat, SOURCE_PIXELS * shown.profile.gsd_m)
    rendered = decoding.render(
        shown.scene, shown.profile, grid, allowed_hosts=shown.hosts, credentials=shown.credentials
    )
    picture = np.where(rendered.valid[..., None], rendered.rgb, 0).astype(np.uint8)
    _draw_cross(picture)
    return encode_png(picture)


def _draw_cross(picture: NDArray[np.uint8]) -> None:
    """Draw a cross with a free middle on (H, W, 3) uint8."""
    middle = picture.shape[0] // 2
    free, end = _ARM
    for colour, half in ((_DARK, 2), (_BRIGHT, 1)):
        across = slice(middle - half, middle + half)
        for arm in (slice(middle - end, middle - free), slice(middle + free, middle + end)):
            picture[across, arm] = colour
            picture[arm, across] = colour
