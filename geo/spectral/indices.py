"""Spectral indices that segwatch computes, and the bands that each needs.

The formulas are those of the Awesome Spectral Indices catalogue (Montero et al. 2023,
doi:10.1038/s41597-023-02096-0, MIT licence), which spyndex evaluates: NDWI (McFeeters 1996), MNDWI (Xu 2006), NBR
(Key & Benson 1999), NDVI (Rouse 1974). All four are normalised differences ``(a - b) / (a + b)``; radar backscatter
is taken as it is, in decibels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Names of bands that indices are computed from, in the order in which arrays hold them.
BANDS = ("green", "red", "nir", "swir1", "swir2", "vv", "vh")


@dataclass(frozen=True, slots=True)
class SpectralIndex:
    """One index: a normalised difference of two bands, or one band as it is."""

    name: str
    bands: tuple[str, ...]
    """Two bands: their normalised difference; one band: its values."""
    meaning: str

    @property
    def steps_per_unit(self) -> int:
        """Integers per unit in which values are kept: thousandths, or hundredths of a decibel."""
        return 1000 if len(self.bands) == 2 else 100


INDICES = (
    SpectralIndex("ndwi", ("green", "nir"), "open water above about 0"),
    SpectralIndex(
        "mndwi", ("green", "swir1"), "open water above about 0, with fewer false alarms in towns than ndwi"
    ),
    SpectralIndex("nbr", ("nir", "swir2"), "low on burned ground; a fire lowers it"),
    SpectralIndex("ndvi", ("nir", "red"), "green vegetation above about 0.3"),
    SpectralIndex("vv", ("vv",), "backscatter in decibels, low on calm water"),
    SpectralIndex("vh", ("vh",), "backscatter in decibels, low on calm water and bare ground"),
)
BY_NAME = {one.name: one for one in INDICES}
#: Value of a pixel without data in arrays of integers.
NO_VALUE = np.iinfo(np.int16).min
_MAX_STORED = np.iinfo(np.int16).max


def list_computable(bands: Iterable[str]) -> tuple[SpectralIndex, ...]:
    """List the indices that these bands suffice for."""
    present = set(bands)
    return tuple(one for one in INDICES if present.issuperset(one.bands))


def compute_indices(
    values: NDArray[np.float32], bands: Sequence[str], indices: Sequence[SpectralIndex]
) -> NDArray[np.int16]:
    """Compute indices as integers.

    Parameters
    ----------
    values
        (bands, height, width) reflectance or decibels; NaN = no data.
    bands
        Name of each band.

    Returns
    -------
    NDArray[np.int16]
        (indices, height, width) in :attr:`SpectralIndex.steps_per_unit`; ``NO_VALUE`` where a band has no data.
    """
    found = np.full((len(indices), *values.shape[1:]), NO_VALUE, np.int16)
    place = {name: at for at, name in enumerate(bands)}
    for at, one in enumerate(indices):
        found[at] = _quantize(_compute(one, [values[place[name]] for name in one.bands]), one.steps_per_unit)
    return found


def _compute(index: SpectralIndex, bands: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    if len(index.bands) == 1:
        return bands[0]
    # surface reflectance is slightly negative over dark water; there the difference must not leave -1..1
    first, second = (np.maximum(one, np.float32(0)) for one in bands)
    total = first + second
    found = np.full_like(total, np.nan)
    np.divide(first - second, total, out=found, where=total > 0)
    return found


def _quantize(values: NDArray[np.float32], steps: int) -> NDArray[np.int16]:
    known = np.isfinite(values)
    scaled = np.clip(np.rint(np.where(known, values, 0) * steps), NO_VALUE + 1, _MAX_STORED)
    return np.where(known, scaled, NO_VALUE).astype(np.int16)
