"""Geometries of messages are small, and hostile ones take no long time."""

from __future__ import annotations

import time

import numpy as np
import pytest
import shapely
from shapely.geometry import Point, Polygon, box, mapping, shape

from segwatch.db.messages import to_bounded_geojson


def comb(teeth: int) -> Polygon:
    """Make a polygon that no simplification makes smaller unless it merges its teeth."""
    across = np.linspace(10.0, 10.2, 2 * teeth + 1)
    along = np.where(np.arange(2 * teeth + 1) % 2, 50.1, 50.0)
    return Polygon([*zip(across, along, strict=True), (10.2, 49.9), (10.0, 49.9)])


@pytest.mark.parametrize("teeth", [10_000, 100_000])
def test_a_comb_is_simplified_in_seconds(teeth: int) -> None:
    """Simplifying the smaller one as it is took a minute."""
    began = time.monotonic()
    document, simplified = to_bounded_geojson(comb(teeth))
    assert time.monotonic() - began < 20
    found = shape(document)
    assert simplified
    assert shapely.is_valid(found)
    assert len(shapely.to_geojson(found)) <= 32_000
    assert np.allclose(found.bounds, (10.0, 49.9, 10.2, 50.1), atol=0.01)


def test_a_detailed_outline_keeps_its_shape() -> None:
    """Also at the antimeridian, beyond which nothing may be snapped."""
    lake = Point(179.9, 50.0).buffer(0.1, quad_segs=4_000).union(box(179.9, 49.95, 180.0, 50.05))
    document, simplified = to_bounded_geojson(lake)
    found = shape(document)
    assert simplified
    assert found.symmetric_difference(lake).area < 0.01 * lake.area
    assert found.bounds[2] <= 180.0
    pond = box(0, 0, 1, 1)
    document, simplified = to_bounded_geojson(pond)
    assert not simplified
    assert shape(document) == shape(mapping(pond))
