"""Pixels without data are filled from the ground beside them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from segwatch.geo.mirroring import fill_by_mirroring

RANDOM = np.random.default_rng(0)


def test_a_straight_border_is_mirrored() -> None:
    whole = RANDOM.integers(1, 256, (20, 30, 3), np.uint8)
    valid = np.zeros((20, 30), bool)
    valid[:, 12:] = True
    filled = fill_by_mirroring(np.where(valid[:, :, None], whole, 0).astype(np.uint8), valid)
    np.testing.assert_array_equal(filled[:, 12:], whole[:, 12:])
    # column 11 is one pixel before the border, 13 is one after it
    np.testing.assert_array_equal(filled[:, 11::-1], whole[:, 13:25])


def test_a_small_picture_is_repeated() -> None:
    whole = RANDOM.integers(1, 256, (10, 10, 3), np.uint8)
    valid = np.zeros((64, 64), bool)
    valid[20:30, 30:40] = True
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[20:30, 30:40] = whole
    filled = fill_by_mirroring(rgb, valid)
    reflected = np.pad(whole, ((20, 34), (30, 24), (0, 0)), mode="reflect")
    # along the picture's own rows and columns it is a plain reflection
    np.testing.assert_array_equal(filled[20:30], reflected[20:30])
    np.testing.assert_array_equal(filled[:, 30:40], reflected[:, 30:40])
    assert filled.min() > 0


@given(arrays(bool, (9, 14)))
def test_nothing_stays_black(valid: NDArray[np.bool_]) -> None:
    whole = RANDOM.integers(1, 256, (9, 14, 3), np.uint8)
    rgb = np.where(valid[:, :, None], whole, 0).astype(np.uint8)
    filled = fill_by_mirroring(rgb, valid)
    assert filled.flags.c_contiguous
    np.testing.assert_array_equal(filled[valid], whole[valid])
    if valid.any():
        assert filled.min() > 0
        shown = {tuple(one) for one in whole[valid].tolist()}
        assert {tuple(one) for one in filled.reshape(-1, 3).tolist()} <= shown
    else:
        assert filled.max() == 0


@given(st.integers(0, 63), st.integers(0, 63))
def test_one_pixel_fills_the_tile(row: int, col: int) -> None:
    valid = np.zeros((64, 64), bool)
    valid[row, col] = True
    rgb = np.where(valid[:, :, None], 77, 0).astype(np.uint8)
    assert (fill_by_mirroring(rgb, valid) == 77).all()


@pytest.mark.timeout(60)
def test_a_large_tile_is_filled_in_a_moment() -> None:
    valid = RANDOM.random((1024, 1024)) > 0.5
    valid[:, :600] = False
    begun = time.monotonic()
    fill_by_mirroring(RANDOM.integers(1, 256, (1024, 1024, 3), np.uint8), valid)
    assert time.monotonic() - begun < 30
