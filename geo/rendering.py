"""Bands + profile -> 8-bit RGB, the same stretch for every scene so that the same ground looks the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.types.source import Profile


def render(bands: NDArray[np.float32], valid: NDArray[np.bool_], profile: Profile) -> NDArray[np.uint8]:
    """(3, H, W) values (scale and offset applied) -> (H, W, 3) uint8; invalid pixels become 0.

    ``profile.low`` (or the band's own) maps to 0, ``profile.high`` to 255, with ``profile.gamma`` in between.
    """
    low, high = (one[:, None, None] for one in limits(profile))
    unit = np.clip((np.nan_to_num(bands) - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    if profile.gamma != 1.0:
        unit = unit ** (1.0 / profile.gamma)
    rgb = np.moveaxis(np.rint(unit * 255), 0, -1).astype(np.uint8)
    rgb[~valid] = 0
    return np.ascontiguousarray(rgb)


def limits(profile: Profile) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(3,) values that are rendered as 0 and as 255: red, green, blue."""
    shown = (profile.red, profile.green, profile.blue)
    low = [profile.low if band.low is None else band.low for band in shown]
    high = [profile.high if band.high is None else band.high for band in shown]
    return np.array(low, np.float32), np.array(high, np.float32)
