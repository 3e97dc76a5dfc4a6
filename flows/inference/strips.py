"""Read a scene strip by strip in the background, while the model predicts on earlier strips.

A strip is some rows of a column span of the grid. Spans follow from left to right, the strips of each from top to
bottom. Memory depends on neither the area's height nor its width.
"""

from __future__ import annotations

import math
import queue
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from types import TracebackType
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from segwatch.geo.footprint import AreaMask
from segwatch.geo.judging import SAMPLE_PX, PixelSample
from segwatch.geo.raster import RGB, YX, YX_BAND, make_coordinates
from segwatch.geo.rendering import render
from segwatch.geo.sources.http.credentials import Credentials
from segwatch.geo.sources.rasters.pixels import SceneReader, SceneWindow, open_scene
from segwatch.geo.spectral.indices import NO_VALUE, SpectralIndex, compute_indices, list_computable
from segwatch.geo.tiling import ColumnSpan, Tile
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import Profile

#: Pixels to read ahead of the model; each takes 5 bytes. Fewer where spectral indices are computed, in the same memory.
_MAX_AHEAD_PX = 16_000_000
#: Columns to read and render at once: float32 bands take several times the memory of the finished strip.
_MAX_WINDOW_COLUMNS = 2048
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Strip:
    """Some rows of a column span, ready for the model. Counts cover the span's own columns only."""

    columns: ColumnSpan
    row: int
    """First row, in the whole grid."""
    rgb: xr.DataArray
    """(y, x, band: red, green, blue) uint8, rendered by the profile; 0 where not valid. All columns of the tiles."""
    valid: xr.DataArray
    """(y, x) bool: the pixel holds data, in the area or beyond it."""
    clear: xr.DataArray
    """(y, x) bool: in the area, valid, and free of cloud and shadow."""
    area_px: int
    """Pixels in the area."""
    valid_px: int
    """Valid pixels in the area."""
    clear_px: int
    """Clear pixels in the area."""
    sample: PixelSample
    """Statistics of a sample of the clear pixels."""
    indices: xr.DataArray | None = None
    """(index, y, x) int16 of the span's own columns, as :func:`segwatch.geo.spectral.indices.compute_indices`
    returns them; ``NO_VALUE`` where not clear. None where the source has no bands for an index."""


@dataclass(frozen=True, slots=True)
class SceneView:
    """The pixels that a group of observations needs of a scene: those of its tiles, by one profile."""

    area: AreaMask
    area_grid: GeoBox
    """Pixels of the area's bounding box."""
    grid: GeoBox
    """Pixels of all tiles that reach ``area_grid``; strips and tiles are counted in it."""
    tiles: tuple[Tile, ...]
    """Tiles of ``grid`` that meet the area, in row-major order."""
    profile: Profile
    hosts: tuple[str, ...]
    """Hosts that pixels may be read from."""
    credentials: Credentials = field(default_factory=dict)
    spectral: bool = True
    """Whether to compute spectral indices where the profile has bands for them."""

    @property
    def indices(self) -> tuple[SpectralIndex, ...]:
        """The spectral indices to compute."""
        return list_computable(one.name for one in self.profile.spectral) if self.spectral else ()

    @property
    def sample_step(self) -> int:
        """Distance in pixels between sampled pixels, along rows and columns of the grid."""
        return max(1, math.isqrt(int(self.area.pixels / SAMPLE_PX)))


class StripReader:
    """Iterates over the strips of a scene, column span by column span, each from the top.

    As a context manager it stops reading when its block ends. It reads up to 16 million pixels ahead, at least one
    strip.

    Parameters
    ----------
    spans
        Column spans of the view's grid, left to right.
    rows
        Height of a strip.

    Raises
    ------
    segwatch.geo.errors.ReadFailed, segwatch.geo.errors.UnsafeHref
        While iterating: pixels could not be read.
    """

    def __init__(
        self, executor: Executor, scene: Scene, view: SceneView, spans: Sequence[ColumnSpan], rows: int
    ) -> None:
        self._scene = scene
        self._view = view
        self._spans = spans
        self._rows = rows
        # an index takes two bytes a pixel, colours and masks five
        ahead_px = _MAX_AHEAD_PX * 5 // (5 + 2 * len(view.indices))
        ahead = max(1, ahead_px // (rows * max(span.width for span in spans)))
        self.fits_in_memory = len(spans) == 1 and ahead * rows >= view.grid.height
        """Whether all strips are read ahead, so that the whole scene can be judged before the first prediction."""
        self._strips: queue.Queue[Strip | None] = queue.Queue(ahead + 1)
        self._stop = threading.Event()
        self._received = 0
        self._done: Future[tuple[int, datetime]] = executor.submit(self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()

    def __iter__(self) -> Iterator[Strip]:
        while (strip := self._strips.get()) is not None:
            yield strip
        self._done.result()

    @property
    def received(self) -> int:
        """Bytes received over the network so far."""
        return self._received

    @property
    def bytes_read(self) -> int:
        """Bytes received over the network; available after the last strip."""
        return self._done.result()[0]

    @property
    def read_at(self) -> datetime:
        """Time when the last strip was read; available after it."""
        return self._done.result()[1]

    def _read(self) -> tuple[int, datetime]:
        try:
            return self._read_all()
        finally:
            # wakes a consumer that waits for the next strip
            self._hand_over(None)

    def _read_all(self) -> tuple[int, datetime]:
        view, grid, received = self._view, self._view.grid, 0
        with open_scene(
            self._scene,
            view.profile,
            grid,
            allowed_hosts=view.hosts,
            credentials=view.credentials,
            spectral=bool(view.indices),
        ) as reader:
            for span, start in product(self._spans, range(0, grid.height, self._rows)):
                stop = min(start + self._rows, grid.height)
                strip, received = self._read_strip(reader, span, start, stop, received)
                if not self._hand_over(strip):
                    break
        return received, datetime.now(UTC)

    def _read_strip(
        self, reader: SceneReader, span: ColumnSpan, start: int, stop: int, received: int
    ) -> tuple[Strip, int]:
        view = self._view
        strip_grid = view.grid[start:stop, span.left : span.right]
        in_area = view.area.rasterize(strip_grid)
        # filled window by window in plain arrays: xr.concat would need the windows and the strip at once (ADR 0011)
        rgb = np.zeros((*in_area.shape, 3), np.uint8)
        clear, valid = np.zeros_like(in_area), np.zeros_like(in_area)
        indices = np.full((len(view.indices), *in_area.shape), NO_VALUE, np.int16)
        sample = PixelSample()
        for columns in _list_windows(view.tiles, span, start, stop):
            part = np.s_[:, columns]
            window = reader.read(strip_grid[part])
            received = self._received = window.bytes_read
            rgb[part] = render(window.bands, window.valid, view.profile).values
            valid[part] = window.valid.values
            clear[part] = window.valid.values & window.clear.values & in_area[part]
            if window.spectral is not None:
                names = [str(name) for name in window.spectral.band.values]
                computed = compute_indices(window.spectral.values, names, view.indices)
                indices[:, *part] = np.where(clear[part], computed, NO_VALUE)
            sample += self._sample(window, rgb[part], clear[part], (start, span.left + columns.start), span)
        counted = (in_area, valid & in_area, clear)
        area_px, valid_px, clear_px = (int(np.count_nonzero(mask[:, span.own])) for mask in counted)
        coordinates = make_coordinates(strip_grid)
        rendered = xr.DataArray(rgb, dims=YX_BAND, coords=coordinates.assign(band=list(RGB)))
        imaged, usable = (xr.DataArray(mask, dims=YX, coords=coordinates) for mask in (valid, clear))
        spectral = None
        if view.indices:
            own = make_coordinates(strip_grid[:, span.own]).assign(index=[one.name for one in view.indices])
            spectral = xr.DataArray(indices[:, :, span.own], dims=("index", *YX), coords=own)
        counts = (area_px, valid_px, clear_px)
        return Strip(span, start, rendered, imaged, usable, *counts, sample, spectral), received

    def _sample(
        self,
        window: SceneWindow,
        rgb: NDArray[np.uint8],
        clear: NDArray[np.bool_],
        corner: tuple[int, int],
        span: ColumnSpan,
    ) -> PixelSample:
        """Statistics of every n-th clear pixel of the span's own columns; ``corner`` is the window's (row, column)."""
        step, (row, col) = self._view.sample_step, corner
        left, right = max(col, span.start), min(col + clear.shape[1], span.stop)
        chosen = np.s_[-row % step :: step, left - col + -left % step : max(0, right - col) : step]
        judged = clear[chosen]
        return PixelSample.of(
            window.bands.values[:, *chosen][:, judged], rgb[chosen][judged], self._view.profile
        )

    def _hand_over(self, strip: Strip | None) -> bool:
        """False when the reader was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._strips.put(strip, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def _list_windows(tiles: Sequence[Tile], span: ColumnSpan, start: int, stop: int) -> Iterator[slice]:
    """Columns of a span that its tiles need in some rows, counted from ``span.left``, at most so many at once."""
    needed = np.zeros(span.width + 2, bool)
    first = bisect_right(tiles, start, key=lambda tile: tile.row + tile.height)
    last = bisect_left(tiles, stop, key=lambda tile: tile.row)
    for tile in tiles[first:last]:
        if span.has(tile):
            needed[1 + tile.col - span.left : 1 + tile.col + tile.width - span.left] = True
    edges = np.flatnonzero(needed[1:] != needed[:-1])
    for left, right in edges.reshape(-1, 2).tolist():
        for col in range(left, right, _MAX_WINDOW_COLUMNS):
            yield slice(col, min(col + _MAX_WINDOW_COLUMNS, right))
