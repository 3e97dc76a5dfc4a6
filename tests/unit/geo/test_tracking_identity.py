"""Cases in which made worlds (benchmarks/tracking_quality.py) once made the tracking core fail."""

from __future__ import annotations

import pytest
import shapely
from shapely.geometry import Polygon

from segwatch.geo.crs import local_equal_area
from segwatch.geo.tracking.transitions import composite, gained, hidden

ORIGIN = (15.0, 46.0)


def test_outlines_that_cross_when_snapped_are_still_combined() -> None:
    """Both are valid, and on the 1e-9 degree grid GEOS fails on their difference."""
    outline = Polygon(
        [
            (15.001937213435, 46.001080024822),
            (15.002841287834, 46.001890036717),
            (15.002712151580, 46.002160050094),
        ]
    )
    cloud = [
        (15.005553498251, 46.002609964386),
        (15.005553444221, 46.002069943939),
        (15.002712155978, 46.002250053504),
        (15.002583005694, 46.002250056496),
        (15.002583026636, 46.002700073525),
    ]
    corners = [
        (15.006458006409, 46.006480061907),
        (15, 46.006480244362),
        (15, 46),
        (15.006457252457, 45.999999817586),
    ]
    footprint = Polygon(corners, [cloud])
    assert outline.is_valid
    assert footprint.is_valid
    with pytest.raises(shapely.errors.GEOSException):
        shapely.difference(outline, footprint, grid_size=1e-9)
    assert hidden(outline, footprint, local_equal_area(ORIGIN), 10.0).is_empty
    assert gained(footprint, outline) is None
    assert composite(outline, [footprint]).area == pytest.approx(footprint.area, rel=1e-6)
