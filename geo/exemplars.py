"""Turn reviewed objects into exemplars: boxes on the tiles that show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import shapely
from odc.geo.geobox import GeoBox

from segwatch.geo.crs import to_crs
from segwatch.geo.grid import get_crs
from segwatch.geo.tiling import Tile
from segwatch.geo.types.segmentation import Exemplar, PixelBox, ReviewedObject

#: Exemplars on one tile; more cost time without telling more.
MAX_PER_TILE = 8
#: Least share of an object's box that a tile shows for it to be an exemplar there.
_MIN_SHOWN = 0.5


class ExemplarFinder:
    """Finds the exemplars of one instruction on tiles of a grid.

    Parameters
    ----------
    reviewed
        The newest review first; an older one of the same target that touches it is left out.
    """

    def __init__(self, reviewed: Iterable[ReviewedObject], grid: GeoBox) -> None:
        self._boxes: list[tuple[ReviewedObject, PixelBox]] = []
        for one in reviewed:
            if any(
                one.target == own.target and one.geometry.intersects(own.geometry) for own, _ in self._boxes
            ):
                continue
            box = _locate(one, grid)
            if box is not None:
                self._boxes.append((one, box))

    def find(self, tiles: Sequence[Tile]) -> tuple[Exemplar, ...]:
        """Find the exemplars on tiles, at most :data:`MAX_PER_TILE` on each, the newest reviews first."""
        found: list[Exemplar] = []
        for at, tile in enumerate(tiles):
            shown = ((one, _cut(box, tile)) for one, box in self._boxes)
            boxes = [(one, box) for one, box in shown if box is not None]
            found += [Exemplar(at, one.target, box, one.is_positive) for one, box in boxes[:MAX_PER_TILE]]
        return tuple(found)


def _locate(one: ReviewedObject, grid: GeoBox) -> PixelBox | None:
    """Bounds in pixels of a grid; None where the object is outside of what the grid's CRS is made for."""
    try:
        projected = to_crs(one.geometry, get_crs(grid))
    except ValueError:
        return None
    west, south, east, north = shapely.bounds(projected).tolist()
    to_pixels = ~grid.transform
    (left, top), (right, bottom) = to_pixels * (west, north), to_pixels * (east, south)
    return PixelBox(left, top, right, bottom)


def _cut(box: PixelBox, tile: Tile) -> PixelBox | None:
    """The part of a box that a tile shows, in pixels of the tile; None if it shows too little."""
    left, right = (min(max(side - tile.col, 0.0), tile.width) for side in (box.left, box.right))
    top, bottom = (min(max(side - tile.row, 0.0), tile.height) for side in (box.top, box.bottom))
    shown, whole = (right - left) * (bottom - top), (box.right - box.left) * (box.bottom - box.top)
    if shown <= 0 or shown < _MIN_SHOWN * whole:
        return None
    return PixelBox(left, top, right, bottom)
