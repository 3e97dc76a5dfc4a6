"""Automatic thresholds on real scenes: they find water and burned ground, and say nothing where there is one mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segwatch.geo.spectral.classes import CLASSES, find_class, list_classes
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


def _threshold(values: NDArray[np.float64], plausible: tuple[float, float]) -> Threshold:
    return find_threshold(count_values(values.ravel()), plausible)


def test_water_that_people_labelled_is_found() -> None:
    green, _, swir1, label = _read("wet")
    mndwi = _difference(green, swir1)
    found = _threshold(mndwi, WATER.plausible)
    assert found.value is not None
    assert _iou(mndwi > found.value, label > 0) > 0.9


def test_a_dry_scene_gets_no_threshold() -> None:
    green, nir, swir1, label = _read("dry")
    assert not label.any()
    for other in (nir, swir1):
        found = _threshold(_difference(green, other), WATER.plausible)
        assert found.value is None
        assert "one mode" in found.reason


def test_a_fire_is_found_and_not_before_it_burned() -> None:
    inside = _read("fire-perimeter")[0] == 1
    nir, swir2 = _read("fire-after")
    nbr = _difference(nir, swir2)
    found = _threshold(nbr, BURNED.plausible)
    assert found.value is not None
    assert _iou(nbr < found.value, inside) > 0.9
    assert _threshold(_difference(*_read("fire-before")), BURNED.plausible).value is None


@given(st.floats(-0.8, 0.8), st.floats(0.02, 0.2), st.integers(0, 99))
def test_one_normal_mode_gets_no_threshold(mean: float, width: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(mean, width, 5000)
    assert find_threshold(count_values(values), (-1, 1)).value is None


@given(st.floats(0.02, 0.98), st.integers(0, 99))
def test_two_modes_are_told_apart_whatever_their_shares(share: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = np.where(
        draw.random(20_000) < share, draw.normal(-0.4, 0.06, 20_000), draw.normal(0.4, 0.06, 20_000)
    )
    found = find_threshold(count_values(values), (-0.3, 0.3))
    assert found.value is not None
    assert abs(found.value) < 0.25


def test_two_modes_of_something_else_get_no_threshold() -> None:
    values = np.concatenate([np.full(500, 0.6), np.full(500, 0.9)])
    found = find_threshold(count_values(values), WATER.plausible)
    assert found.value is None
    assert "within" in found.reason
    assert find_threshold(count_values(values[:10]), (-1, 1)).reason == "only 10 clear pixels"


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
