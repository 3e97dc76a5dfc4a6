"""Indices, their means over detections and cells, and what they say about a target."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import Polygon, box

from segwatch.geo.agreement import compute_agreement
from segwatch.geo.area import compute_area_m2
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.spectral import cells
from segwatch.geo.spectral.cells import CellAverager, compare_places
from segwatch.geo.spectral.indices import BANDS, NO_VALUE, compute_indices, list_computable
from segwatch.geo.spectral.likelihood import MAX_FACTOR, log_likelihood_ratio, shows_no_change
from segwatch.geo.spectral.zones import ZoneMeter
from segwatch.geo.types.evidence import ChangeEvidence, IndexMean, SpectralEvidence
from segwatch.geo.types.tracking import Detection, ObservationResult

GRID = GeoBox((60, 50), Affine(10, 0, 500_000, 0, -10, 5_100_000), "EPSG:32633")
NDWI = list_computable(["green", "nir"])


def _place(left: int, top: int, right: int, bottom: int) -> Polygon:
    """The square of these pixels, EPSG:4326."""
    corner = box(500_000 + 10 * left, 5_100_000 - 10 * bottom, 500_000 + 10 * right, 5_100_000 - 10 * top)
    return to_lonlat(corner.segmentize(10), get_crs(GRID))  # type: ignore[return-value]


def _detect(*pixels: int, target: str = "water") -> Detection:
    place = _place(*pixels)
    return Detection(target, place, 0.9, compute_area_m2(place))


def _bands(**values: float) -> NDArray[np.float32]:
    return np.array([[[values.get(name, np.nan)]] for name in BANDS], np.float32)


def test_formulas_are_those_of_the_catalogue() -> None:
    """Values of spyndex 0.12.0 for the same reflectances."""
    indices = list_computable(BANDS)
    values = _bands(green=0.08, red=0.05, nir=0.30, swir1=0.20, swir2=0.12, vv=-14.25, vh=-21.5)
    found = compute_indices(values, BANDS, indices)[:, 0, 0]
    steps = [one.steps_per_unit for one in indices]
    expected = {
        "ndwi": -0.57895,
        "mndwi": -0.42857,
        "nbr": 0.42857,
        "ndvi": 0.71429,
        "vv": -14.25,
        "vh": -21.5,
    }
    for one, value, step in zip(indices, found, steps, strict=True):
        assert value / step == pytest.approx(expected[one.name], abs=0.5 / step + 1e-9)


def test_a_band_without_data_gives_no_value_and_negative_reflectance_no_nonsense() -> None:
    (missing,) = compute_indices(_bands(green=0.1), BANDS, NDWI)[:, 0, 0]
    assert missing == NO_VALUE
    (dark,) = compute_indices(_bands(green=0.01, nir=-0.005), BANDS, NDWI)[:, 0, 0]
    assert dark == 1000
    (nothing,) = compute_indices(_bands(green=-0.01, nir=-0.005), BANDS, NDWI)[:, 0, 0]
    assert nothing == NO_VALUE


def test_indices_need_their_bands() -> None:
    assert [one.name for one in list_computable(["red", "nir"])] == ["ndvi"]
    assert list_computable([]) == ()
    assert [one.name for one in list_computable(["vv", "vh"])] == ["vv", "vh"]


def _scene(seed: int) -> NDArray[np.int16]:
    values = np.random.default_rng(seed).integers(-900, 900, (1, *GRID.shape)).astype(np.int16)
    values[:, 40:50, 5:20] = NO_VALUE
    return values


@settings(max_examples=20, deadline=None)
@given(st.integers(7, 60), st.integers(7, 50), st.integers(0, 5))
def test_evidence_and_cells_do_not_depend_on_how_the_scene_is_cut(rows: int, cols: int, seed: int) -> None:
    values = _scene(seed)
    detections = [_detect(3, 3, 20, 30), _detect(24, 3, 44, 30), _detect(3, 36, 44, 57)]
    results, found = [], []
    for height, width in ((60, 50), (rows, cols)):
        meter, averager = ZoneMeter(detections, GRID, NDWI), CellAverager(GRID, NDWI)
        for row in range(0, 60, height):
            for col in range(0, 50, width):
                window = values[:, row : row + height, col : col + width]
                meter.add(row, col, window)
                averager.add(row, col, window)
        results.append(meter.result())
        found.append(averager.result())
    assert results[0] == results[1]
    assert found[0] == found[1]


def test_a_ring_leaves_out_mixed_pixels_and_other_detections() -> None:
    values = np.full((1, *GRID.shape), -400, np.int16)
    values[:, 20:30, 20:30] = 600
    values[:, 19:31, 19:31] = np.where(
        values[:, 19:31, 19:31] == 600, 600, 100
    )  # pixels that are partly water
    values[:, 20:30, 33:40] = 600
    meter = ZoneMeter([_detect(20, 20, 30, 30), _detect(33, 20, 40, 30)], GRID, NDWI)
    meter.add(0, 0, values)
    first, second = meter.result()
    assert first is not None
    assert second is not None
    assert first.get("ndwi") == IndexMean("ndwi", 0.6, -0.4)
    assert first.pixels == 100
    mean = second.get("ndwi")
    assert mean is not None
    assert mean.inside == 0.6
    assert mean.ring == pytest.approx(-0.4, abs=0.05)


def test_a_detection_without_a_clear_value_has_no_evidence() -> None:
    meter = ZoneMeter([_detect(7, 42, 18, 48)], GRID, NDWI)
    meter.add(0, 0, _scene(1))
    assert meter.result() == [None]


def test_a_place_is_compared_over_cells_that_both_observations_have() -> None:
    before, after = np.full((2, 1, *GRID.shape), -300, np.int16)
    after[:, 10:30, 10:30] = 500
    before[:, :, 20:] = NO_VALUE
    found = []
    for values in (before, after):
        averager = CellAverager(GRID, NDWI)
        averager.add(0, 0, values)
        found.append(averager.result())
    assert compare_places(_place(10, 10, 30, 30), *found) == ({"ndwi": -0.3}, {"ndwi": 0.5})
    assert compare_places(_place(22, 10, 30, 30), *found) == ({}, {})
    assert compare_places(_place(22, 10, 30, 30), None, found[1]) == ({}, {"ndwi": 0.5})
    assert compare_places(_place(10, 10, 30, 30), None, None) == ({}, {})


def test_cells_of_a_large_area_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MAX_CELLS", 200)
    averager = CellAverager(GRID, NDWI)
    averager.add(0, 0, np.full((1, *GRID.shape), 250, np.int16))
    found = averager.result()
    assert found.width * found.height <= 200
    # on multiples of their size, so that areas beside each other share them
    assert found.west % found.cell_m == 0
    assert found.north % found.cell_m == 0
    assert compare_places(_place(10, 10, 11, 11), None, found)[1] == {"ndwi": 0.25}, "smaller than a cell"


def test_evidence_survives_storage() -> None:
    evidence = SpectralEvidence((IndexMean("mndwi", 0.25, None), IndexMean("ndwi", 0.5, -0.125)), 12, 30)
    assert SpectralEvidence.from_json(evidence.to_json()) == evidence
    change = ChangeEvidence((("ndwi", -0.5),), (("ndwi", 0.25),), evidence)
    assert ChangeEvidence.from_json(change.to_json()) == change
    assert ChangeEvidence.from_json(ChangeEvidence().to_json()) == ChangeEvidence()


def _evidence(index: str, inside: float, ring: float | None = None, pixels: int = 1000) -> SpectralEvidence:
    return SpectralEvidence((IndexMean(index, inside, ring),), pixels, 100)


def test_evidence_speaks_only_for_what_an_index_shows() -> None:
    assert log_likelihood_ratio("water", _evidence("mndwi", 0.4, -0.3)) > 0.5
    assert log_likelihood_ratio("flooded areas", _evidence("ndwi", -0.6, -0.3)) < -0.5
    assert log_likelihood_ratio("burned ground", _evidence("nbr", -0.3, 0.4)) > 0.5
    assert log_likelihood_ratio("forest", _evidence("ndvi", 0.8, 0.2)) == 0, "fields are green, too"
    assert log_likelihood_ratio("forest", _evidence("ndvi", 0.05, 0.2)) < -0.2
    for target in ("flooded road", "building", "oil slick", "target 1"):
        assert log_likelihood_ratio(target, _evidence("mndwi", 0.9, -0.9)) == 0
    assert log_likelihood_ratio("water", None) == 0
    assert log_likelihood_ratio("water", _evidence("ndvi", -0.2, 0.5)) == 0


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(1, 10_000))
def test_evidence_is_bounded_and_weighs_less_on_few_pixels(inside: float, ring: float, pixels: int) -> None:
    ratio = log_likelihood_ratio("water", _evidence("mndwi", inside, ring, pixels))
    assert abs(ratio) <= math.log(MAX_FACTOR)
    assert abs(ratio) <= abs(log_likelihood_ratio("water", _evidence("mndwi", inside, ring, 2 * pixels)))


def _result(footprint: Polygon, *found: Detection) -> ObservationResult:
    return ObservationResult(footprint, found)


def test_agreement_counts_the_ground_that_both_observed() -> None:
    everything, west = _place(0, 0, 50, 60), _place(0, 0, 30, 60)
    primary = _result(everything, _detect(10, 10, 20, 20), _detect(35, 10, 45, 20), _detect(5, 40, 15, 50))
    shadow = _result(west, _detect(15, 10, 25, 20))
    found = compute_agreement(primary, shadow, "other 1", ["water"])
    (water,) = found.targets
    pixel = compute_area_m2(everything) / 3000
    assert water.both_m2 == pytest.approx(50 * pixel, rel=1e-3)
    assert water.only_primary_m2 == pytest.approx(150 * pixel, rel=1e-3)
    assert water.only_shadow_m2 == pytest.approx(50 * pixel, rel=1e-3)
    assert water.iou == pytest.approx(0.2, rel=1e-3)
    assert (water.primary_count, water.shadow_count) == (3, 1)
    first, unseen, missed = found.objects
    assert list(first) == pytest.approx([0.5, 1 / 3], rel=1e-3)
    assert unseen == (None, None), "the shadow did not observe it"
    assert missed == (0, 0)
    assert [one.found_by for one in found.differences] == ["primary", "primary", "shadow"]
    assert found.differences[0].area_m2 == pytest.approx(100 * pixel, rel=1e-3)


def test_agreement_of_nothing() -> None:
    everything = _place(0, 0, 50, 60)
    found = compute_agreement(_result(everything), _result(everything), "other 1", ["water"])
    assert found.targets[0].iou is None
    assert found.objects == ()
    assert found.differences == ()


@pytest.mark.parametrize(
    ("target", "before", "after", "unchanged"),
    [
        ("water", {"ndwi": 0.47}, {"ndwi": 0.47}, True),
        ("water", {"ndwi": -0.59}, {"ndwi": -0.6}, True),
        ("water", {"ndwi": 0.3}, {"ndwi": -0.5}, False),
        ("water", {"ndwi": 0.3}, {"ndwi": 0.05}, False),
        ("water", {"ndwi": -0.1}, {"ndwi": -0.1}, False),
        ("water", {"mndwi": 0.0, "ndwi": 0.5}, {"mndwi": 0.0, "ndwi": 0.5}, False),
        ("water", {"ndwi": 0.5}, {}, False),
        ("burned ground", {"nbr": -0.3}, {"nbr": -0.3}, True),
        ("forest", {"ndvi": 0.8}, {"ndvi": 0.8}, False),
        ("forest", {"ndvi": -0.1}, {"ndvi": 0.0}, True),
        ("buildings", {"ndwi": 0.5}, {"ndwi": 0.5}, False),
    ],
)
def test_ground_is_unchanged_where_an_index_says_the_same_twice(
    target: str, before: dict[str, float], after: dict[str, float], unchanged: bool
) -> None:
    """Unclear values say nothing, and green ground may be fields instead of forest."""
    assert shows_no_change(target, before, after) is unchanged
