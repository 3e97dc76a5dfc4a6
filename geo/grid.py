"""The pixel grid of an area at a ground sample distance, as a :class:`odc.geo.geobox.GeoBox`.

A ``GeoBox`` is a shape (y, x), an affine transform from pixel (column, row) to CRS coordinates, and a CRS. Slicing it
like an array, ``grid[top:bottom, left:right]``, gives the grid of a window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affine import Affine
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_bounds, compute_width
from segwatch.geo.crs import choose_utm, to_crs
from segwatch.geo.errors import AreaError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

#: Beyond this many metres a side, one projected grid distorts too much; larger areas need several watches.
MAX_SIDE_M = 500_000.0
#: A ring around a pole has no inside in degrees: nearly all of it would be lost.
_MAX_DEGREES = 180.0


def make_grid(area: BaseGeometry, gsd_m: float) -> GeoBox:
    """Make the one north-up grid of an area: UTM zone of its centre, pixel edges on multiples of ``gsd_m``.

    The same area and ground sample distance always give the same grid, so masks of different scenes share pixels.

    Parameters
    ----------
    area
        Polygon in EPSG:4326.
    gsd_m
        Pixel size in metres.

    Raises
    ------
    AreaError
        The area is longer than 500 km on a side, or surrounds a pole.
    """
    # with it comes dask, which what only tracks or delivers need not load
    from odc.geo.geobox import GeoBox

    crs = choose_utm(area)
    left, bottom, right, top = to_crs(area.segmentize(0.05), crs).bounds
    side = max(right - left, top - bottom)
    if side > MAX_SIDE_M:
        raise AreaError(
            f"the area measures {side / 1000:.0f} km on a side, at most {MAX_SIDE_M / 1000:.0f} km are possible; "
            "cut it into several watches"
        )
    degrees = compute_width(compute_bounds(area))
    if degrees > _MAX_DEGREES:
        raise AreaError(
            f"the area spans {degrees:.0f} degrees of longitude, at most {_MAX_DEGREES:.0f} are possible; "
            "around a pole, cut it along meridians into several watches"
        )
    first_col, last_col = _snap(left, right, gsd_m)
    first_row, last_row = _snap(bottom, top, gsd_m)
    transform = Affine(gsd_m, 0.0, first_col * gsd_m, 0.0, -gsd_m, last_row * gsd_m)
    return GeoBox((last_row - first_row, last_col - first_col), transform, crs)


@dataclass(frozen=True, slots=True)
class GridOrigin:
    """Upper left pixel of a grid on the lattice of all pixels of its CRS."""

    row: int
    """Rows below the CRS's origin; negative north of it."""
    col: int
    """Columns right of the CRS's origin."""


def get_origin(grid: GeoBox) -> GridOrigin:
    """Return where a grid lies on the lattice of pixels whose edges are multiples of the pixel size."""
    return GridOrigin(
        round(grid.transform.f / grid.resolution.y), round(grid.transform.c / grid.resolution.x)
    )


def get_crs(grid: GeoBox) -> CRS:
    """Return the grid's CRS as pyproj knows it.

    Raises
    ------
    ValueError
        The grid has no CRS.
    """
    if grid.crs is None:
        raise ValueError("a pixel grid needs a CRS")
    return grid.crs.proj


def compute_pixel_area(grid: GeoBox) -> float:
    """Compute the area of one pixel in CRS units squared."""
    return abs(grid.resolution.x * grid.resolution.y)


def _snap(low: float, high: float, step: float) -> tuple[int, int]:
    """Whole steps around low..high, at least one, forgiving a millionth of a pixel."""
    first = math.floor(low / step + 1e-6)
    return first, max(first + 1, math.ceil(high / step - 1e-6))
