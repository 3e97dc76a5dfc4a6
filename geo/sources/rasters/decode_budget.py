"""Limits on decoding: bytes of one scene in total, and bytes of the process at one time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from odc.geo.geobox import GeoBox

_GiB = 1024**3
#: Decoded bytes allowed for a scene however small its grid is: files without overviews are read in full.
_SCENE_BYTES = 16 * _GiB
#: Decoded bytes allowed for each pixel of the grid: hundreds of interleaved bands, decoded for three, several times.
_SCENE_BYTES_PER_PIXEL = 4096
#: Bytes that all scenes of a process may decode at one time, besides GDAL's cache and the results.
PROCESS_BYTES = 512 * 1024**2


class DecodingBudget:
    """Decoded bytes that one scene has left; for one thread.

    Parameters
    ----------
    grid
        The whole grid that the scene is read on.
    """

    def __init__(self, grid: GeoBox) -> None:
        self.total = _SCENE_BYTES + _SCENE_BYTES_PER_PIXEL * grid.width * grid.height
        self._left = self.total

    def spend(self, count: int) -> bool:
        """Take bytes from the budget; False, without taking any, when too few are left."""
        if count > self._left:
            return False
        self._left -= count
        return True


class Gate:
    """Admits threads to decoding while the memory they need together fits."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Wait until ``count`` bytes are free and hold them during the block; the block must not hold more."""
        count = min(count, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


#: The gate of this process.
GATE = Gate(PROCESS_BYTES)
