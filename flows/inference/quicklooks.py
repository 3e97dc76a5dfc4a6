"""Quicklooks: a small picture of each observation with its polygons, stored in a folder or bucket."""

from __future__ import annotations

import math
from pathlib import Path
from uuid import UUID

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from segwatch.flows.config.settings.imagery import QuicklookSettings
from segwatch.flows.inference import quicklook_spool
from segwatch.flows.inference.strips import SceneView, Strip
from segwatch.flows.runtime import ground_pictures
from segwatch.flows.runtime.ground_pictures import GroundPicture
from segwatch.flows.runtime.quicklook_store import has_storage, store_file
from segwatch.geo.crs import to_crs
from segwatch.geo.encoding import encode_jpeg
from segwatch.geo.grid import get_crs, get_origin
from segwatch.geo.types.tracking import ObservationResult

_MAX_SIDE_PX = 768
_QUALITY = 85
#: Colours of the targets in order, and of the observed footprint's border.
_COLOURS = ((255, 64, 64), (255, 200, 0), (255, 0, 255), (0, 255, 128))
_BORDER = (255, 255, 255)


class Preview:
    """A scene's rendering of its area, decimated to at most 768 pixels a side."""

    def __init__(self, view: SceneView) -> None:
        grid, origin, whole = view.area_grid, get_origin(view.area_grid), get_origin(view.grid)
        self._row, self._col = origin.row - whole.row, origin.col - whole.col
        self._step = max(1, math.ceil(max(grid.shape) / _MAX_SIDE_PX))
        # the grid of every n-th pixel; its upper left corner is the grid's
        self._grid = grid.zoom_out(self._step)
        height, width = (-(-side // self._step) for side in grid.shape)
        self._picture: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)

    def add(self, strip: Strip) -> None:
        """Add the rows of a strip."""
        rows, own_rows = self._choose(strip.row - self._row, strip.rgb.shape[0], self._picture.shape[0])
        cols, own_cols = self._choose(
            strip.columns.left - self._col, strip.rgb.shape[1], self._picture.shape[1]
        )
        self._picture[own_rows, own_cols] = strip.rgb.values[rows, cols]

    def _choose(self, start: int, length: int, count: int) -> tuple[slice, slice]:
        """Every n-th pixel of ``length`` from ``start`` on, in the area: places in the strip, and in the picture."""
        first = max(0, -(-start // self._step))
        last = max(first, min(count, -(-(start + length) // self._step)))
        offset = first * self._step - start
        return slice(offset, offset + (last - first) * self._step, self._step), slice(first, last)

    def draw(self, result: ObservationResult) -> NDArray[np.uint8]:
        """Draw the footprint's border and the detections' outlines, coloured by target: (h, w, 3) uint8."""
        picture = self._picture.copy()
        targets = list(dict.fromkeys(one.target for one in result.detections))
        self._draw_outlines(picture, [result.footprint], _BORDER)
        for index, target in enumerate(targets):
            geometries = [one.geometry for one in result.detections if one.target == target]
            self._draw_outlines(picture, geometries, _COLOURS[index % len(_COLOURS)])
        return picture

    def take_ground(self) -> GroundPicture:
        """Take the picture without any outlines, with its place."""
        return GroundPicture(np.moveaxis(self._picture, -1, 0), get_crs(self._grid), self._grid.transform)

    def _draw_outlines(
        self, picture: NDArray[np.uint8], geometries: list[BaseGeometry], colour: tuple[int, int, int]
    ) -> None:
        crs = get_crs(self._grid)
        lines = [to_crs(one, crs).boundary for one in geometries if not one.is_empty]
        lines = [one for one in lines if not shapely.is_empty(one)]
        if lines:
            transform = self._grid.transform
            drawn = rasterize(lines, out_shape=picture.shape[:2], transform=transform, all_touched=True)
            picture[drawn > 0] = colour


def write_quicklook(
    settings: QuicklookSettings, watch: str, observation: UUID, preview: Preview, result: ObservationResult
) -> str | None:
    """Store the quicklook of an observation; an earlier one is replaced.

    A quicklook that cannot be stored now is kept in the home folder and sent with the next one; the observation's
    result never depends on it.

    Returns
    -------
    str | None
        Path below ``SEGWATCH_EVIDENCE``; None where quicklooks are off or cannot be stored.
    """
    if settings.evidence == "none" or not has_storage(settings):
        return None
    path, content = f"{watch}/{observation}.jpg", encode_jpeg(preview.draw(result), quality=_QUALITY)
    # without this one, a briefing's map shows outlines alone, and says so
    ground = ground_pictures.name_file(path), ground_pictures.encode(preview.take_ground())
    folder = _spool_folder(settings)
    if store_file(settings, path, content):
        if store_file(settings, *ground) is None:
            quicklook_spool.keep(folder, *ground)
        quicklook_spool.send(folder, lambda one, kept: store_file(settings, one, kept))
        return path
    is_kept = quicklook_spool.keep(folder, path, content)
    quicklook_spool.keep(folder, *ground)
    return path if is_kept else None


def _spool_folder(settings: QuicklookSettings) -> Path:
    return settings.home.absolute() / "quicklooks-to-store"
