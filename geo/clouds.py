"""A collection's mask values -> where the ground can be seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.types.source import CloudMask


def clear_mask(values: NDArray[np.integer], mask: CloudMask) -> NDArray[np.bool_]:
    """(H, W) mask values -> True where there is neither cloud, shadow nor missing data."""
    unclear = np.isin(values, (*mask.unclear_values, *mask.invalid_values))
    bits = sum(1 << bit for bit in mask.unclear_bits)
    if bits:
        unclear |= (values.astype(np.int64) & bits) != 0
    return ~unclear
