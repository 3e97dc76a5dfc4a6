"""The grid of a chip: the point in the middle, true to scale, north up, and cheap for its neighbours."""

from __future__ import annotations

import math

import pytest
from pyproj import Geod

from segwatch.flows.web.pixels.chips import make_chip_grid
from segwatch.geo.crs import LONLAT, get_transformer
from segwatch.geo.grid import get_crs


@pytest.mark.parametrize(("lon", "lat"), [(10.0371, 50.0412), (-179.99, -16.52), (25.55, 78.96)])
def test_the_point_is_in_the_middle_and_north_is_up(lon: float, lat: float) -> None:
    grid = make_chip_grid(lon, lat, 640.0)
    to_lonlat = get_transformer(get_crs(grid), LONLAT)
    corners = [grid.transform * at for at in ((160, 160), (160, 0), (160, 320))]
    middle, top, bottom = (to_lonlat.transform(*one) for one in corners)
    assert middle == pytest.approx((lon, lat), abs=1e-7)
    azimuth, _, metres = Geod(ellps="WGS84").inv(*bottom, *top)
    assert metres == pytest.approx(640, rel=1e-4)
    assert abs(math.remainder(azimuth, 360)) < 0.06


def test_chips_of_a_neighbourhood_share_their_transformer() -> None:
    one, other = (get_crs(make_chip_grid(10.01 + step / 1000, 50.02, 640.0)) for step in range(2))
    assert get_transformer(one, LONLAT) is get_transformer(other, LONLAT)
