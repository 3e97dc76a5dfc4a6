"""Pictures that say nothing about the ground are told from dark, bright and dull ground, however they come in parts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segwatch.geo.judging import PixelSample, find_misrendering
from segwatch.geo.raster import BAND_YX, YX
from segwatch.geo.rendering import render
from segwatch.geo.sources import profiles
from segwatch.geo.types.source import Profile
from tests.support.paths import ROOT

BYTES = profiles.load("rgb-cog")
#: Reflectance 0 to 0.3, stored times 10 000.
REFLECTANCE = replace(profiles.load("local-sentinel2"), clouds=None)
RADAR = profiles.load("sentinel1-rtc-planetary")
DEMO = ROOT / "demo" / "imagery"
RNG = np.random.default_rng(3)


def shades(values: NDArray[np.floating], profile: Profile) -> PixelSample:
    """Of (3, n) values with scale and offset applied."""
    bands = values.astype(np.float32)
    valid = np.ones((1, bands.shape[1]), bool)
    rgb = render(xr.DataArray(bands[:, None], dims=BAND_YX), xr.DataArray(valid, dims=YX), profile)
    return PixelSample.of(bands, rgb.values[0], profile)


def judged(stored: NDArray[np.floating], profile: Profile) -> str | None:
    return find_misrendering(shades(stored * profile.scale + profile.offset, profile), profile)


def ground(low: float, high: float, count: int = 5000) -> NDArray[np.float64]:
    return RNG.uniform(low, high, (3, count))


def bands(*levels: tuple[float, float]) -> NDArray[np.float64]:
    """Each channel around a level, by a spread."""
    return np.stack([RNG.normal(level, spread, 5000) for level, spread in levels])


SNOW_AND_FOREST = np.concatenate([ground(6000, 9500, 3500), ground(200, 900, 1500)], axis=1)
NIGHT = np.concatenate([np.zeros((3, 4600)), ground(20, 255, 400)], axis=1)


@pytest.mark.parametrize(
    ("stored", "profile"),
    [
        (bands((60, 20), (110, 20), (260, 25)), REFLECTANCE),
        (bands((-5, 20), (30, 20), (150, 25)), REFLECTANCE),
        (bands((5200, 300), (3900, 300), (2300, 300)), REFLECTANCE),
        (SNOW_AND_FOREST, REFLECTANCE),
        (ground(300, 2500), REFLECTANCE),
        (bands((-24, 1.5), (-31, 1.5), (7, 1.5)), replace(RADAR, decibels=False)),
        (NIGHT, BYTES),
        (bands((12, 2), (14, 2), (18, 2)).round(), BYTES),
        (ground(0, 255).round(), BYTES),
        (np.full((3, 40), 7.0), BYTES),
        (ground(30_000, 60_000, 10), BYTES),
    ],
    ids=[
        "the open sea", "a lake that is darker than black", "desert", "snow and forest", "fields",
        "radar over a calm sea", "a town at night", "a dull dark lake", "anything", "a few pixels of one colour",
        "too few to judge",
    ],
)  # fmt: skip
def test_real_ground_is_answered(stored: NDArray[np.floating], profile: Profile) -> None:
    assert judged(stored, profile) is None


@pytest.mark.parametrize(
    ("stored", "profile", "why"),
    [
        (ground(300, 3000), BYTES, "more than 8 bits"),
        (ground(100, 300), BYTES, "more than 8 bits"),
        (ground(0.01, 0.6), REFLECTANCE, "is black"),
        (ground(0.01, 0.6), replace(REFLECTANCE, scale=1, high=3000), "is black"),
        (ground(300, 3000), replace(REFLECTANCE, scale=1), "is white"),
        (ground(8000, 20_000), REFLECTANCE, "is white"),
        (ground(300, 1100), replace(REFLECTANCE, offset=-0.2), "far below"),
        (ground(300, 3000), replace(REFLECTANCE, offset=1.0), "is white"),
        (np.full((3, 5000), -9999.0), REFLECTANCE, "far below"),
        (np.full((3, 64), 90.0), BYTES, "one colour"),
        (np.full((3, 5000), 255.0), BYTES, "is white"),
        (np.zeros((3, 5000)), BYTES, "is black"),
    ],
    ids=[
        "16 bits", "9 bits", "reflectance of 0 to 1", "reflectance in a profile of numbers", "numbers without a scale",
        "another mission's numbers", "offset taken off twice", "an offset of one", "undeclared fill", "one colour",
        "all white", "all black",
    ],
)  # fmt: skip
def test_what_no_ground_looks_like_is_refused_with_what_to_do(
    stored: NDArray[np.floating], profile: Profile, why: str
) -> None:
    reason = judged(stored, profile)
    assert reason is not None
    assert why in reason
    assert f"profile {profile.name} renders" in reason
    assert "segwatch retry" in reason


def test_a_profile_may_want_such_pictures() -> None:
    assert judged(ground(300, 3000), replace(BYTES, max_saturated=1.0)) is None
    half_white = np.concatenate([np.full((3, 600), 255.0), ground(0, 200, 400)], axis=1)
    assert judged(half_white, BYTES) is None
    assert "60% of it is white" in str(judged(half_white, replace(BYTES, max_saturated=0.5)))


@given(st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_parts_add_up_to_the_whole(cuts: list[int], flat: bool) -> None:
    values = np.full((3, 200), 17.0) if flat else np.random.default_rng(1).normal(120, 90, (3, 200))
    edges = sorted({0, 200, *cuts})
    total = PixelSample()
    for start, stop in pairwise(edges):
        total += shades(values[:, start:stop], BYTES)
    assert total == shades(values, BYTES)
    assert total + PixelSample() == PixelSample() + total == total


@pytest.mark.parametrize(
    "path", sorted(DEMO.rglob("20??-??-??.tif")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_no_scene_of_the_demo_is_refused(path: Path) -> None:
    profile = REFLECTANCE if "sentinel2" in path.parent.name else profiles.load("local-naip")
    with rasterio.open(path) as file:
        order = [band.index for band in (profile.red, profile.green, profile.blue)]
        stored, valid = file.read(order).astype(float), file.dataset_mask() != 0
    assert valid.mean() > 0.5
    assert judged(stored[:, valid], profile) is None
