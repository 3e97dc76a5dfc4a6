"""The pixels of a scene over a group's area, strip by strip, read in the background while others are answered.

A strip is some rows of a band of columns; bands follow one another from the left, their strips from the top. What is in
memory at a time depends on neither the area's height nor its width.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.footprint import Inside
from segwatch.geo.grid import PixelGrid
from segwatch.geo.judging import SAMPLE_PX, Shades
from segwatch.geo.rendering import render
from segwatch.geo.sources.http.credentials import Credentials
from segwatch.geo.sources.rasters.pixels import SceneReader, SceneWindow, opened
from segwatch.geo.tiling import Band
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import Profile

#: Pixels that are read ahead of the model, at 5 bytes each.
_AHEAD_PX = 16_000_000
#: Columns that are read and rendered at once: bands need several times the memory of what is kept of them.
_PIECE_PX = 2048
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Strip:
    """Some rows of a band, ready for the model. It counts the band's own columns only."""

    band: Band
    row: int
    """First of its rows."""
    rgb: NDArray[np.uint8]
    """(h, w, 3), rendered by the profile; 0 where not imaged. w: the columns of the band's tiles."""
    seen: NDArray[np.bool_]
    """(h, w) in the area, imaged, and free of cloud and shadow."""
    within: int
    """Pixels in the area."""
    imaged: int
    """Pixels in the area that the scene shows."""
    clear: int
    """Pixels that are seen."""
    shades: Shades
    """What a sample of the seen pixels looks like."""


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at: pixels of the area, and nothing outside it."""

    area: Inside
    grid: PixelGrid
    profile: Profile
    hosts: tuple[str, ...]
    """Hosts pixels may be read from."""
    credentials: Credentials = field(default_factory=dict)

    @property
    def spacing(self) -> int:
        """Pixels between those that are judged, along rows and columns: anchored to the grid, not to strips."""
        return max(1, math.isqrt(int(self.area.pixels / SAMPLE_PX)))


class Reading:
    """Strips of a scene, band by band, from the top.

    Used as a context manager it ends the reading when its block ends. So many strips are read ahead as make
    16 million pixels, at least one.

    Parameters
    ----------
    bands
        Of the view's grid, from the left.
    rows
        Of a strip.

    Raises
    ------
    segwatch.geo.errors.ReadFailed, segwatch.geo.errors.UnsafeHref
        While iterating: pixels could not be read.
    """

    def __init__(
        self, executor: Executor, scene: Scene, view: View, bands: Sequence[Band], rows: int
    ) -> None:
        self._scene = scene
        self._view = view
        self._bands = bands
        self._rows = rows
        ahead = max(1, _AHEAD_PX // (rows * max(band.width for band in bands)))
        self.whole = len(bands) == 1 and ahead * rows >= view.grid.height
        """Whether all strips are read ahead: what they show is known before the first is answered."""
        self._strips: queue.Queue[Strip | None] = queue.Queue(ahead + 1)
        self._stop = threading.Event()
        self._done: Future[tuple[int, datetime]] = executor.submit(self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Read no further."""
        self._stop.set()

    def __iter__(self) -> Iterator[Strip]:
        while (strip := self._strips.get()) is not None:
            yield strip
        self._done.result()

    @property
    def bytes_read(self) -> int:
        """Bytes that came over the network, once all strips were given."""
        return self._done.result()[0]

    @property
    def read_at(self) -> datetime:
        """When the last strip was there, once all were given."""
        return self._done.result()[1]

    def _read(self) -> tuple[int, datetime]:
        try:
            return self._read_all()
        finally:
            # wakes who waits for the next strip
            self._hand_over(None)

    def _read_all(self) -> tuple[int, datetime]:
        view, grid, received = self._view, self._view.grid, 0
        with opened(
            self._scene, view.profile, grid, allowed_hosts=view.hosts, credentials=view.credentials
        ) as reader:
            for band, start in product(self._bands, range(0, grid.height, self._rows)):
                stop = min(start + self._rows, grid.height)
                strip, received = self._strip(reader, band, start, stop, received)
                if not self._hand_over(strip):
                    break
        return received, datetime.now(UTC)

    def _strip(
        self, reader: SceneReader, band: Band, start: int, stop: int, received: int
    ) -> tuple[Strip, int]:
        view, grid = self._view, self._view.grid
        within = view.area.rows(start, stop, band.left, band.right)
        rgb = np.zeros((*within.shape, 3), np.uint8)
        seen, imaged = np.zeros_like(within), np.zeros_like(within)
        shades = Shades()
        for col in range(0, band.width, _PIECE_PX):
            piece = np.s_[:, col : col + _PIECE_PX]
            wanted = within[piece]
            if not wanted.any():
                continue  # the ground outside the area is not read
            window = reader.read(grid.window(start, band.left + col, *wanted.shape))
            received = window.bytes_read
            rgb[piece] = render(window.bands, window.valid, view.profile)
            imaged[piece] = window.valid & wanted
            seen[piece] = window.valid & window.clear & wanted
            shades += self._shades(window, rgb[piece], seen[piece], (start, band.left + col), band)
        inside, shown, clear = (int(part[:, band.own].sum()) for part in (within, imaged, seen))
        return Strip(band, start, rgb, seen, inside, shown, clear, shades), received

    def _shades(
        self,
        window: SceneWindow,
        rgb: NDArray[np.uint8],
        seen: NDArray[np.bool_],
        corner: tuple[int, int],
        band: Band,
    ) -> Shades:
        """Of every so-manieth pixel of the band's own columns; ``corner`` is the window's row and column."""
        step, (row, col) = self._view.spacing, corner
        left, right = max(col, band.start), min(col + seen.shape[1], band.stop)
        chosen = np.s_[-row % step :: step, left - col + -left % step : max(0, right - col) : step]
        judged = seen[chosen]
        return Shades.of(window.bands[:, *chosen][:, judged], rgb[chosen][judged], self._view.profile)

    def _hand_over(self, strip: Strip | None) -> bool:
        """False when nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._strips.put(strip, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False
