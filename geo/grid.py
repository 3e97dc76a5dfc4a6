"""The pixel grid of an area at a ground sample distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from affine import Affine
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import bounds_of, width
from segwatch.geo.crs import to_local, utm
from segwatch.geo.errors import AreaError

#: Beyond this many metres a side one projected grid distorts too much; watch the area in parts.
LONGEST_SIDE_M = 500_000.0
#: A ring round a pole has no inside in degrees: nearly all of it would be lost.
_MOST_DEGREES = 180.0


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """North-up pixels in a projected CRS."""

    crs: CRS
    transform: Affine
    """Pixel (column, row) -> CRS coordinates; (0, 0) is the upper left corner of the first pixel."""
    height: int
    width: int

    @property
    def pixel_area(self) -> float:
        """Area of one pixel in CRS units squared."""
        return abs(self.transform.a * self.transform.e)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in the CRS."""
        left, top = self.transform * (0, 0)
        right, bottom = self.transform * (self.width, self.height)
        return left, bottom, right, top

    def window(self, row: int, col: int, height: int, width: int) -> PixelGrid:
        """The sub-grid that starts at pixel (row, col)."""
        return PixelGrid(self.crs, self.transform @ Affine.translation(col, row), height, width)


def for_area(area: BaseGeometry, gsd_m: float) -> PixelGrid:
    """The one grid of an area: UTM zone of its centre, edges on multiples of ``gsd_m``.

    The same area and ground sample distance always give the same grid, so masks of different scenes lie
    on the same pixels.

    Raises
    ------
    AreaError
        The area is longer than 500 km on a side, or goes round a pole.
    """
    crs = utm(area)
    left, bottom, right, top = to_local(area.segmentize(0.05), crs).bounds
    side = max(right - left, top - bottom)
    if side > LONGEST_SIDE_M:
        raise AreaError(
            f"the area measures {side / 1000:.0f} km on a side, at most {LONGEST_SIDE_M / 1000:.0f} km are possible; "
            "cut it into several watches"
        )
    degrees = width(bounds_of(area))
    if degrees > _MOST_DEGREES:
        raise AreaError(
            f"the area spans {degrees:.0f} degrees of longitude, at most {_MOST_DEGREES:.0f} are possible; "
            "round a pole, cut it along meridians into several watches"
        )
    first_col, last_col = _snap(left, right, gsd_m)
    first_row, last_row = _snap(bottom, top, gsd_m)
    transform = Affine(gsd_m, 0.0, first_col * gsd_m, 0.0, -gsd_m, last_row * gsd_m)
    return PixelGrid(crs, transform, last_row - first_row, last_col - first_col)


def _snap(low: float, high: float, step: float) -> tuple[int, int]:
    """Whole steps around low..high, at least one, forgiving a millionth of a pixel."""
    first = math.floor(low / step + 1e-6)
    return first, max(first + 1, math.ceil(high / step - 1e-6))
