"""How much may be decoded: bytes of one scene in all, and of a process at one time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from segwatch.geo.grid import PixelGrid

_GiB = 1024**3
#: A scene may have so many bytes decoded however small its grid is: files without overviews are read for overviews.
_SCENE_BYTES = 16 * _GiB
#: And so many for each pixel of the grid: hundreds of interleaved bands, decoded for three, several times.
_SCENE_BYTES_PER_PIXEL = 4096
#: What all scenes of a process may have in the making at one time, besides GDAL's cache and results.
PROCESS_BYTES = 512 * 1024**2


class DecodingBudget:
    """Decoded bytes that one scene has left; for one thread.

    Parameters
    ----------
    grid
        The whole grid that the scene is read on.
    """

    def __init__(self, grid: PixelGrid) -> None:
        self.total = _SCENE_BYTES + _SCENE_BYTES_PER_PIXEL * grid.width * grid.height
        self._left = self.total

    def spend(self, count: int) -> bool:
        """Take bytes from what is left; False, and nothing is taken, where that is too little."""
        if count > self._left:
            return False
        self._left -= count
        return True


class Gate:
    """Lets threads decode while the bytes that they need together fit."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Wait until so many bytes are free, and keep them for the length of the block, which holds no others."""
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


#: Of this process.
GATE = Gate(PROCESS_BYTES)
