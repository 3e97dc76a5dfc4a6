"""Render bands to 8-bit RGB by a profile: one stretch for every scene, so that the same ground looks the same."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from segwatch.geo.raster import YX_BAND
from segwatch.geo.types.source import Profile


def render(bands: xr.DataArray, valid: xr.DataArray, profile: Profile) -> xr.DataArray:
    """Stretch bands to 8 bits.

    ``profile.low`` (or the band's own) becomes 0, ``profile.high`` 255, with ``profile.gamma`` in between.

    Parameters
    ----------
    bands
        (band: 3, y, x) float32: red, green, blue with scale and offset applied.
    valid
        (y, x) bool on the same grid. Invalid pixels become 0.

    Returns
    -------
    xr.DataArray
        (y, x, band: 3) uint8, contiguous.

    Raises
    ------
    ValueError
        The two lie on different grids.
    """
    xr.align(bands, valid, join="exact", copy=False)
    # plain arrays inside: xarray takes the same time and memory here, but fillna() lets infinities pass (ADR 0011)
    low, high = (one[:, None, None] for one in get_limits(profile))
    unit = np.clip((np.nan_to_num(bands.values) - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    if profile.gamma != 1.0:
        unit = unit ** (1.0 / profile.gamma)
    rgb = np.moveaxis(np.rint(unit * 255), 0, -1).astype(np.uint8)
    rgb[~valid.values] = 0
    return xr.DataArray(np.ascontiguousarray(rgb), dims=YX_BAND, coords=bands.coords)


def get_limits(profile: Profile) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the (3,) values rendered as 0 and the (3,) values rendered as 255: red, green, blue."""
    shown = (profile.red, profile.green, profile.blue)
    low = [profile.low if band.low is None else band.low for band in shown]
    high = [profile.high if band.high is None else band.high for band in shown]
    return np.array(low, np.float32), np.array(high, np.float32)
