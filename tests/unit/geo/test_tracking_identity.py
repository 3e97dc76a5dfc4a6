"""Cases in which made worlds (benchmarks/tracking_quality.py) once made the tracking core fail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
import shapely
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import geodesic_m2
from segwatch.geo.crs import local_equal_area, to_lonlat
from segwatch.geo.polygons import clean
from segwatch.geo.tracking.history import Look, refold
from segwatch.geo.tracking.transitions import composite, gained, hidden
from segwatch.geo.types import ChangeKind, Detection, TrackedObservation, TrackingSettings, TrackingStep

ORIGIN = (15.0, 46.0)
CRS = local_equal_area(ORIGIN)
SERIES = UUID(int=1)
EVERYTHING = box(-5000, -5000, 5000, 5000)
LAKE, POND = box(0, 0, 400, 400), box(1000, 0, 1400, 400)


def ground(shape: BaseGeometry) -> BaseGeometry:
    return clean(to_lonlat(shape.segmentize(200), CRS))


def fold(*scenes: tuple[Sequence[BaseGeometry], BaseGeometry]) -> list[TrackingStep]:
    """What there is (in metres from the origin) and what is hidden, scene by scene."""
    looks = []
    for number, (there, cloud) in enumerate(scenes):
        pieces = [part for shape in there for part in shapely.get_parts(shape.difference(cloud))]
        found = [Detection("water", ground(one), 0.9, geodesic_m2(ground(one))) for one in pieces]
        when = datetime(2024, 5, 1, tzinfo=UTC) + timedelta(days=number)
        footprint = ground(EVERYTHING.difference(cloud))
        name = uuid5(SERIES, str(number))
        observation = TrackedObservation(name, name, when, footprint, tuple(found))
        looks.append(Look(observation, TrackingSettings(), baseline=not number))
    return refold([], looks, series_id=SERIES, origin=ORIGIN)


def test_what_comes_back_on_both_sides_of_a_cloud_is_one_object() -> None:
    nothing = Polygon()
    band = box(150, -5000, 250, 5000)
    steps = fold(([LAKE], nothing), ([], nothing), ([], nothing), ([LAKE], band), ([LAKE], nothing))
    assert [change.kind for change in steps[3].changes] == [ChangeKind.REAPPEARED]
    (lake,) = steps[0].detection_tracks
    assert set(steps[3].detection_tracks) == set(steps[4].detection_tracks) == {lake}


def test_what_comes_back_in_two_parts_without_a_cloud_between_is_not_joined() -> None:
    nothing = Polygon()
    west, east = box(0, 0, 250, 400), box(300, 0, 400, 400)
    steps = fold(([LAKE, POND], nothing), ([], nothing), ([], nothing), ([west, east, POND], nothing))
    kinds = sorted(change.kind.value for change in steps[3].changes)
    assert kinds == ["appeared", "reappeared", "reappeared"]
    assert len(set(steps[3].detection_tracks)) == 3
    assert steps[3].detection_tracks[0] == steps[0].detection_tracks[0]


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
