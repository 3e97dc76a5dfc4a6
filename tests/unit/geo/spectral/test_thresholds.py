"""Automatic thresholds on real and simulated scenes: they find water and burned ground, or none, or cannot tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segwatch.geo.spectral.classes import CLASSES, SpectralClass, find_class, list_classes
from segwatch.geo.spectral.thresholds import Threshold, count_values, find_threshold
from segwatch.geo.types.watch import Instruction

DATA = Path(__file__).parents[3] / "data" / "spectral"
WATER, BURNED, VEGETATION = CLASSES

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def _read(name: str) -> NDArray[np.float64]:
    with rasterio.open(DATA / f"{name}.tif") as file:
        return np.asarray(file.read(), np.float64)


def _difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = np.maximum(first, 0), np.maximum(second, 0)
    return (first - second) / np.maximum(first + second, 1)


def _iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def _threshold(values: NDArray[np.float64], kind: SpectralClass) -> Threshold:
    return find_threshold(count_values(values.ravel()), kind.plausible, kind.undecided)


def _simulate(
    share: float, seed: int, noise: float, haze: float, brightness: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which of 40 000 pixels are water, and their MNDWI: three land covers, noise and haze in units of reflectance."""
    draw, count = np.random.default_rng(seed), 40_000
    wet = np.arange(count) < round(share * count)
    cover = draw.integers(0, 3, count)
    green = np.where(wet, 0.06, np.choose(cover, [0.05, 0.09, 0.11]))
    swir1 = np.where(wet, 0.012, np.choose(cover, [0.15, 0.22, 0.30]))
    lit = [
        brightness * band * np.exp(draw.normal(0, 0.08, count)) + part * haze + draw.normal(0, noise, count)
        for band, part in ((green, 1.0), (swir1, 0.6))
    ]
    return wet, _difference(lit[0] * 10_000, lit[1] * 10_000)


def test_water_that_people_labelled_is_found() -> None:
    green, _, swir1, label = _read("wet")
    mndwi = _difference(green, swir1)
    found = _threshold(mndwi, WATER)
    assert found.value is not None
    assert _iou(mndwi > found.value, label > 0) > 0.9


def test_a_dry_scene_has_no_water() -> None:
    green, nir, swir1, label = _read("dry")
    assert not label.any()
    for other in (nir, swir1):
        index = _difference(green, other)
        found = _threshold(index, WATER)
        assert found.value is not None
        assert not (index > found.value).any()
        assert "clearly below" in found.reason


disturbed = given(st.integers(0, 99), st.floats(0, 0.003), st.floats(0, 0.015), st.floats(0.8, 1.2))


@settings(max_examples=12)
@disturbed
def test_a_scene_of_land_has_no_water_and_one_of_water_no_land(
    seed: int, noise: float, haze: float, brightness: float
) -> None:
    for share in (0.0, 1.0):
        _, index = _simulate(share, seed, noise, haze, brightness)
        found = _threshold(index, WATER)
        assert found.value is not None
        assert np.mean(index > found.value) == pytest.approx(share, abs=0.005)


@settings(max_examples=12)
@disturbed
@pytest.mark.parametrize("share", [0.005, 0.02, 0.5, 0.98])
def test_water_is_found_whatever_its_share(
    share: float, seed: int, noise: float, haze: float, brightness: float
) -> None:
    wet, index = _simulate(share, seed, noise, haze, brightness)
    found = _threshold(index, WATER)
    assert found.value is not None
    assert _iou(index > found.value, wet) > 0.95


@settings(max_examples=30)
@given(st.floats(0, 1), st.integers(0, 99), st.floats(0, 0.01), st.floats(0, 0.06), st.floats(0.8, 1.2))
def test_heavy_haze_and_noise_make_it_silent_and_never_wrong(
    share: float, seed: int, noise: float, haze: float, brightness: float
) -> None:
    wet, index = _simulate(share, seed, noise, haze, brightness)
    found = _threshold(index, WATER)
    if found.value is None:
        assert found.reason
    else:
        assert np.mean((index > found.value) != wet) < 0.01


def test_what_may_be_water_or_not_gets_no_threshold() -> None:
    """Wet sand, concrete or thick haze: one mode around zero."""
    values = np.random.default_rng(1).normal(0.0, 0.08, 5000)
    found = _threshold(values, WATER)
    assert found.value is None
    assert "one mode" in found.reason


def test_a_fire_is_found_and_not_before_it_burned() -> None:
    inside = _read("fire-perimeter")[0] == 1
    nir, swir2 = _read("fire-after")
    nbr = _difference(nir, swir2)
    found = _threshold(nbr, BURNED)
    assert found.value is not None
    assert _iou(nbr < found.value, inside) > 0.9
    before = _difference(*_read("fire-before"))
    earlier = _threshold(before, BURNED)
    assert earlier.value is None or np.mean(before < earlier.value) < 0.005


@given(st.floats(-0.8, 0.8), st.floats(0.02, 0.2), st.integers(0, 99))
def test_one_normal_mode_gets_no_threshold(mean: float, width: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(mean, width, 5000)
    assert find_threshold(count_values(values), (-1, 1), (-1, 1)).value is None


@given(st.floats(0.02, 0.98), st.integers(0, 99))
def test_two_modes_are_told_apart_whatever_their_shares(share: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = np.where(
        draw.random(20_000) < share, draw.normal(-0.4, 0.06, 20_000), draw.normal(0.4, 0.06, 20_000)
    )
    found = find_threshold(count_values(values), (-0.3, 0.3), (-0.2, 0.2))
    assert found.value is not None
    assert abs(found.value) < 0.25


def test_two_modes_of_something_else_get_no_threshold() -> None:
    values = np.concatenate([np.full(500, 0.1), np.full(500, 0.98)])
    found = _threshold(values, WATER)
    assert found.value is None
    assert "within" in found.reason
    assert _threshold(values[:10], WATER).reason == "only 10 clear pixels"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("water", "water"), ("the flooded areas", "water"), ("Flood water", "water"), ("lakes and ponds", "water"),
        ("burned area", "burned"), ("burned", "burned"), ("burn scar", "burned"), ("green vegetation", "vegetation"),
        ("flooded road", None), ("oil slick", None), ("forest", None), ("building", None), ("lava", None), ("", None),
    ],
)  # fmt: skip
def test_targets_have_the_class_of_their_names(target: str, name: str | None) -> None:
    found = find_class(target)
    assert (found.name if found else None) == name


def test_an_instruction_without_labels_asks_for_what_it_names() -> None:
    ((target, kind),) = list_classes(Instruction("Please segment the water."))
    assert (target, kind) == ("target 1", WATER)
    ((_, none),) = list_classes(Instruction("segment the oil slicks on the water"))
    assert none is None
    both = list_classes(Instruction("segment the water and the flooded roads", ("water", "flooded road")))
    assert both == [("water", WATER), ("flooded road", None)]
