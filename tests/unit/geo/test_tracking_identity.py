"""Regression tests of the tracking core for cases found in simulated worlds (benchmarks/tracking_quality.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS as CRS_TYPE
from rasterio.features import rasterize
from rasterio.features import shapes as raster_shapes
from shapely import affinity
from shapely.geometry import Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2
from segwatch.geo.crs import make_local_equal_area, to_crs, to_lonlat
from segwatch.geo.polygons import clean
from segwatch.geo.tracking.overlay import compose, extract_gain, extract_unobserved
from segwatch.geo.tracking.series import FoldInput, fold_series
from segwatch.geo.types.tracking import ChangeKind, Detection, TrackedObservation, TrackingStep
from segwatch.geo.types.watch import TrackingSettings

ORIGIN = (15.0, 46.0)
CRS = make_local_equal_area(ORIGIN)
SERIES = UUID(int=1)
EVERYTHING = box(-5000, -5000, 5000, 5000)
LAKE, POND = box(0, 0, 400, 400), box(1000, 0, 1400, 400)


def ground(shape: BaseGeometry) -> BaseGeometry:
    return clean(to_lonlat(shape.segmentize(200), CRS))


def fold(*scenes: tuple[Sequence[BaseGeometry], BaseGeometry]) -> list[TrackingStep]:
    """Fold scenes, each given as objects (metres from the origin) and cloud."""
    looks = []
    for number, (there, cloud) in enumerate(scenes):
        pieces = [part for shape in there for part in shapely.get_parts(shape.difference(cloud))]
        found = [Detection("water", ground(one), 0.9, compute_area_m2(ground(one))) for one in pieces]
        when = datetime(2024, 5, 1, tzinfo=UTC) + timedelta(days=number)
        footprint = ground(EVERYTHING.difference(cloud))
        name = uuid5(SERIES, str(number))
        observation = TrackedObservation(name, name, when, footprint, tuple(found))
        looks.append(FoldInput(observation, TrackingSettings(), first=not number))
    return fold_series([], looks, series_id=SERIES, origin=ORIGIN)


def test_an_object_reappearing_on_both_sides_of_a_cloud_is_one() -> None:
    nothing = Polygon()
    band = box(150, -5000, 250, 5000)
    steps = fold(([LAKE], nothing), ([], nothing), ([], nothing), ([LAKE], band), ([LAKE], nothing))
    assert [change.kind for change in steps[3].changes] == [ChangeKind.REAPPEARED]
    (lake,) = steps[0].detection_tracks
    assert set(steps[3].detection_tracks) == set(steps[4].detection_tracks) == {lake}


def test_an_object_reappearing_in_two_parts_is_not_joined() -> None:
    nothing = Polygon()
    west, east = box(0, 0, 250, 400), box(300, 0, 400, 400)
    steps = fold(([LAKE, POND], nothing), ([], nothing), ([], nothing), ([west, east, POND], nothing))
    kinds = sorted(change.kind.value for change in steps[3].changes)
    assert kinds == ["appeared", "reappeared", "reappeared"]
    assert len(set(steps[3].detection_tracks)) == 3
    assert steps[3].detection_tracks[0] == steps[0].detection_tracks[0]


def test_polygons_that_cross_when_snapped_are_still_combined() -> None:
    """Both polygons are valid, and GEOS fails on their difference on the 1e-9 degree grid."""
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
    assert extract_unobserved(outline, footprint, make_local_equal_area(ORIGIN), 10.0).is_empty
    assert extract_gain(footprint, outline) is None
    assert compose(outline, [footprint]).area == pytest.approx(footprint.area, rel=1e-6)


NOTHING = Polygon()


def test_adjacent_objects_keep_identities_when_their_border_moves() -> None:
    """Two parcels that share an edge stay two; moving the edge takes neither's identity."""
    first = [box(0, 0, 200, 400), box(200, 0, 400, 400)]
    moved = [box(0, 0, 240, 400), box(240, 0, 400, 400)]
    steps = fold((first, NOTHING), (first, NOTHING), (moved, NOTHING), (moved[::-1], NOTHING))
    west, east = steps[0].detection_tracks
    assert west != east
    assert steps[1].detection_tracks == (west, east)
    assert steps[2].detection_tracks == (west, east)
    assert steps[3].detection_tracks == (east, west)
    assert not [lineage for step in steps for lineage in step.lineage]


def test_an_object_clipped_by_the_aoi_is_one_object() -> None:
    """Every observation clips the object at the same border; only changes inside are reported."""
    inside = box(4700, 0, 5000, 400)
    grown = box(4400, 0, 5000, 400)
    steps = fold(([inside], NOTHING), ([inside], NOTHING), ([grown], NOTHING))
    assert [change.kind for change in steps[1].changes] == []
    assert [change.kind for change in steps[2].changes] == [ChangeKind.GREW]
    assert len({identity for step in steps for identity in step.detection_tracks}) == 1


@given(
    st.integers(-1, 1),
    st.integers(-1, 1),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), unique=True),
)
@settings(max_examples=40, deadline=None)
def test_a_misregistration_of_one_pixel_changes_nothing(
    right: int, up: int, places: list[tuple[int, int]]
) -> None:
    """Everything shifts by ten metres at once, neighbours and one-pixel roads included."""
    there = [
        box(x * 300, y * 300, x * 300 + 180, y * 300 + (10 if (x + y) % 3 == 0 else 120)) for x, y in places
    ]
    aside = [affinity.translate(shape, 10 * right, 10 * up) for shape in there]
    steps = fold((there, NOTHING), (aside, NOTHING), (there, NOTHING))
    assert not steps[1].changes
    assert not steps[2].changes
    assert steps[0].detection_tracks == steps[1].detection_tracks == steps[2].detection_tracks


def pixels(
    shapes: Sequence[BaseGeometry], zone: int, gsd_m: float, offset: float = 0.0
) -> list[BaseGeometry]:
    """Polygonise shapes on a UTM zone's pixel grid and return them in EPSG:4326."""
    utm = CRS_TYPE.from_epsg(32600 + zone)
    projected = [to_crs(ground(shape), utm) for shape in shapes]
    west, south, east, north = shapely.total_bounds(projected)
    west, north = math.floor(west / gsd_m) * gsd_m - offset - gsd_m, math.ceil(north / gsd_m) * gsd_m + offset
    size = math.ceil((north - south) / gsd_m) + 1, math.ceil((east - west) / gsd_m) + 1
    transform = Affine(gsd_m, 0, west, 0, -gsd_m, north)
    outlines = []
    for shape in projected:
        mask = rasterize([shape], out_shape=size, transform=transform, dtype="uint8")
        parts = [polygon for polygon, _ in raster_shapes(mask, mask=mask == 1, transform=transform)]
        outlines += [clean(to_lonlat(shapely.geometry.shape(one), utm)) for one in parts]
    return outlines


def on_grids(
    *looks: tuple[Sequence[BaseGeometry], int, float, float], tolerance_m: float
) -> list[TrackingStep]:
    """Scenes of one series, each (shapes, UTM zone, ground sample distance, grid offset)."""
    numbers = TrackingSettings(tolerance_m=tolerance_m)
    folded = []
    for number, (there, zone, gsd_m, offset) in enumerate(looks):
        found = [
            Detection("water", one, 0.9, compute_area_m2(one)) for one in pixels(there, zone, gsd_m, offset)
        ]
        when = datetime(2024, 5, 1, tzinfo=UTC) + timedelta(days=number)
        name = uuid5(SERIES, f"grid {number}")
        observation = TrackedObservation(name, name, when, ground(EVERYTHING), tuple(found))
        folded.append(FoldInput(observation, numbers, first=not number))
    return fold_series([], folded, series_id=SERIES, origin=ORIGIN)


ROUND = [Point(0, 0).buffer(260), Point(1500, 300).buffer(140), box(-1500, -900, -900, -700)]


@pytest.mark.parametrize("zones", [(33, 32, 33), (32, 33, 32)])
def test_one_series_from_two_utm_zones_and_shifted_grids(zones: tuple[int, int, int]) -> None:
    """The same area on grids rotated by the convergence of neighbouring zones and shifted by half a pixel."""
    looks = [(ROUND, zone, 10.0, 5.0 * index) for index, zone in enumerate(zones)]
    steps = on_grids(*looks, tolerance_m=10)
    assert len(steps[0].detection_tracks) == len(ROUND)
    assert steps[0].detection_tracks == steps[1].detection_tracks == steps[2].detection_tracks
    assert not [change for step in steps[1:] for change in step.changes]


def test_changing_ground_sample_distance() -> None:
    """10 m, 20 m and 10 m again, at the tolerance of the coarser source; real growth is reported once."""
    grown = [ROUND[0], Point(1500, 300).buffer(260), ROUND[2]]
    steps = on_grids(
        (ROUND, 33, 10.0, 0.0),
        (ROUND, 33, 20.0, 0.0),
        (ROUND, 33, 10.0, 0.0),
        (grown, 33, 20.0, 0.0),
        tolerance_m=20,
    )
    assert len({step.detection_tracks for step in steps}) == 1
    assert [change.kind for step in steps[1:] for change in step.changes] == [ChangeKind.GREW]
