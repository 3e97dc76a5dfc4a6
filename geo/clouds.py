"""Turn a collection's mask values into clear pixels."""

from __future__ import annotations

import numpy as np
import xarray as xr

from segwatch.geo.types.source import CloudMask


def find_clear(values: xr.DataArray, mask: CloudMask) -> xr.DataArray:
    """Mark the pixels that are neither cloud, shadow nor missing.

    Parameters
    ----------
    values
        (y, x) integers of the collection's mask band.

    Returns
    -------
    xr.DataArray
        (y, x) bool on the same grid.
    """
    unclear = values.isin((*mask.unclear_values, *mask.invalid_values))
    bits = sum(1 << bit for bit in mask.unclear_bits)
    if bits:
        unclear |= (values.astype(np.int64) & bits) != 0
    return ~unclear
