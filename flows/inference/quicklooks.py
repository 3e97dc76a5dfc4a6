"""What the model saw: a small picture of each observation with the outlines it gave, in a folder or bucket."""

from __future__ import annotations

import functools
import logging
import math
import os
import stat
from pathlib import Path
from uuid import UUID

import fsspec
import numpy as np
import rasterio
import shapely
from affine import Affine
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from segwatch.db.errors import words
from segwatch.flows.config.settings.imagery import QuicklookSettings
from segwatch.flows.inference import quicklook_spool
from segwatch.flows.inference.strips import Strip
from segwatch.geo.crs import to_local
from segwatch.geo.grid import PixelGrid
from segwatch.geo.types.tracking import ObservationResult

_log = logging.getLogger(__name__)
_LONGEST_PX = 768
#: Colours of targets, in order, and of the border of what was observed.
_COLOURS = ((255, 64, 64), (255, 200, 0), (255, 0, 255), (0, 255, 128))
_BORDER = (255, 255, 255)
#: Why nothing is kept where :func:`place` knows no place.
HOMELESS = (
    "the ledger is on a server of its own (SEGWATCH_DATABASE_URL) and no place is named that outlasts a run; set "
    "SEGWATCH_EVIDENCE to a folder or bucket that all workers reach, or SEGWATCH_HOME"
)


class Preview:
    """A scene on a grid, every so many pixels one."""

    def __init__(self, grid: PixelGrid) -> None:
        self._grid = grid
        self._step = max(1, math.ceil(max(grid.height, grid.width) / _LONGEST_PX))
        height, width = (-(-side // self._step) for side in (grid.height, grid.width))
        self._picture: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)

    def add(self, strip: Strip) -> None:
        """Some rows of a band."""
        step, left = self._step, strip.band.left
        first, start = -strip.row % step, -left % step
        part = strip.rgb[first::step, start::step]
        row, col = (strip.row + first) // step, (left + start) // step
        self._picture[row : row + part.shape[0], col : col + part.shape[1]] = part

    def drawn(self, result: ObservationResult) -> NDArray[np.uint8]:
        """(h, w, 3): the picture, outlines of the detections by target, and the border of the observed ground."""
        picture = self._picture.copy()
        targets = list(dict.fromkeys(one.target for one in result.detections))
        self._draw(picture, [result.footprint], _BORDER)
        for index, target in enumerate(targets):
            shapes = [one.geometry for one in result.detections if one.target == target]
            self._draw(picture, shapes, _COLOURS[index % len(_COLOURS)])
        return picture

    def _draw(
        self, picture: NDArray[np.uint8], shapes: list[BaseGeometry], colour: tuple[int, int, int]
    ) -> None:
        lines = [to_local(one, self._grid.crs).boundary for one in shapes if not one.is_empty]
        lines = [one for one in lines if not shapely.is_empty(one)]
        if lines:
            transform = self._grid.transform @ Affine.scale(self._step)
            drawn = rasterize(lines, out_shape=picture.shape[:2], transform=transform, all_touched=True)
            picture[drawn > 0] = colour


def write(
    settings: QuicklookSettings, watch: str, observation: UUID, preview: Preview, result: ObservationResult
) -> str | None:
    """Store the picture; its path below ``SEGWATCH_EVIDENCE``, None where pictures are off or nothing takes them.

    The same observation again replaces its picture. An answer is never lost for want of its picture. One that the store
    does not take now is kept in the home folder, and stored with the next one that it takes.
    """
    if settings.evidence == "none" or not _has_place(settings):
        return None
    path, content = f"{watch}/{observation}.jpg", _jpeg(preview.drawn(result))
    if put(settings, path, content):
        quicklook_spool.send(_spooled(settings), lambda one, kept: put(settings, one, kept))
        return path
    return path if quicklook_spool.keep(_spooled(settings), path, content) else None


def _spooled(settings: QuicklookSettings) -> Path:
    return settings.home.absolute() / "quicklooks-to-store"


def put(settings: QuicklookSettings, path: str, content: bytes) -> str | None:
    """Store a file below ``SEGWATCH_EVIDENCE`` in place of an earlier one; its address, None if that failed."""
    if not _has_place(settings):
        return None
    try:
        files, root = fsspec.url_to_fs(place(settings))
        if isinstance(files, LocalFileSystem):
            # other users of the machine see nothing of it, unless somebody made the folder for them
            Path(root).mkdir(0o700, parents=True, exist_ok=True)
        files.makedirs(f"{root}/{path.rpartition('/')[0]}", exist_ok=True)
        files.pipe_file(f"{root}/{path}", content)
        if isinstance(files, LocalFileSystem):
            _share(Path(root), Path(root) / path)
    except Exception as error:  # stores are plugins of fsspec, which raise errors of their own
        _log.warning("%s could not be stored: %s", path, words(error))
        return None
    return str(files.unstrip_protocol(f"{root}/{path}"))


def _share(root: Path, file: Path) -> None:
    """Where the workers share the folder by its group (``services.accounts``), let them write this file, too."""
    mode = root.stat().st_mode
    if not mode & stat.S_ISGID:
        return
    for path in (file, *file.parents):
        if path == root:
            return
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o660 if path == file else stat.S_IMODE(mode))


def read(settings: QuicklookSettings, path: str) -> bytes | None:
    """A file below ``SEGWATCH_EVIDENCE``; None when it is not there."""
    if not _has_place(settings):
        return None
    try:
        files, root = fsspec.url_to_fs(place(settings))
        content: bytes = files.cat_file(f"{root}/{path}")
    except Exception as error:  # as above
        _log.warning("%s could not be read: %s", path, words(error))
        return None
    return content


def place(settings: QuicklookSettings) -> str | None:
    """Where pictures and reports lie: a folder or an fsspec address; None where no folder is meant to stay.

    A worker may run each flow in a folder that is gone after it, and the default home is relative to that.
    """
    given = None if settings.evidence == "none" else settings.evidence
    if given is None and settings.database_url is not None and "home" not in settings.model_fields_set:
        return None
    return given or str(settings.home.absolute() / "evidence")


def _has_place(settings: QuicklookSettings) -> bool:
    if place(settings) is None:
        _warn_once()
        return False
    return True


@functools.cache
def _warn_once() -> None:
    _log.warning(
        "pictures and reports are not kept: %s; SEGWATCH_EVIDENCE=none asks for no pictures", HOMELESS
    )


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    height, width, _ = picture.shape
    made = {"driver": "JPEG", "height": height, "width": width, "count": 3, "dtype": "uint8", "QUALITY": 85}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.MemoryFile(ext=".jpg") as memory:
        # a transform keeps GDAL from warning that a picture has none
        with memory.open(transform=Affine.translation(0, 1), **made) as file:
            file.write(np.moveaxis(picture, -1, 0))
        content: bytes = memory.read()
        return content
