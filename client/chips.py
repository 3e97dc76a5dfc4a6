"""Pictures of the ground of a change, before and after it, as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from segwatch.client.scenes import SceneRow, WatchImagery
from segwatch.geo.crs import to_crs
from segwatch.geo.grid import get_crs

#: Rim around the change as a share of its longer side, smallest width in pixels of the source, largest in pixels.
_RIM, _MIN_PX, MAX_PX = 0.4, 48, 512


@dataclass(frozen=True, slots=True)
class Chip:
    """One picture."""

    acquired_at: datetime
    rgba: NDArray[np.uint8]
    """(H, W, 4); transparent where there is no data."""


@dataclass(frozen=True, slots=True)
class ChangeChips:
    """Pictures of a change on one grid."""

    before: Chip | None
    """The latest observed scene before the change that showed its ground; None = there is none."""
    after: Chip | None
    """The scene in which the change was found; None = it is not in the ledger any more."""
    grid: GeoBox
    shape: BaseGeometry
    """Ground of the change in the CRS of the grid."""


def read_chips(imagery: WatchImagery, shape: BaseGeometry, scene_id: str, valid_at: datetime) -> ChangeChips:
    """Read the pictures of a change.

    Parameters
    ----------
    shape
        Ground of the change, EPSG:4326.
    scene_id
        Scene in which it was found.
    valid_at
        When it happened on the ground.

    Raises
    ------
    segwatch.errors.NotReadable
        Imagery cannot be read.
    """
    grid = _make_grid(imagery.grid, shape)
    scenes = imagery.list_scenes()
    earlier = [one for one in scenes if one.acquired_at < valid_at and _shows(one, shape)]
    found = next((one for one in scenes if one.scene_id == scene_id), None)
    before = earlier[-1] if earlier else None
    return ChangeChips(
        None if before is None else Chip(before.acquired_at, imagery.render_window(before.scene_id, grid)),
        None if found is None else Chip(found.acquired_at, imagery.render_window(found.scene_id, grid)),
        grid,
        to_crs(shape, get_crs(grid)),
    )


def _shows(scene: SceneRow, shape: BaseGeometry) -> bool:
    return scene.footprint is not None and bool(scene.footprint.intersects(shape))


def _make_grid(whole: GeoBox, shape: BaseGeometry) -> GeoBox:
    """Make a square grid around a shape, on the pixels of the watch unless it is too large for that."""
    step = abs(whole.resolution.x)
    left, bottom, right, top = to_crs(shape, get_crs(whole)).bounds
    side = max(max(right - left, top - bottom) * (1 + 2 * _RIM), _MIN_PX * step)
    step *= max(1.0, float(np.ceil(side / step / MAX_PX)))
    pixels = int(np.ceil(side / step))
    west = np.floor(((left + right) / 2 - side / 2) / step) * step
    north = np.ceil(((bottom + top) / 2 + side / 2) / step) * step
    return GeoBox((pixels, pixels), Affine(step, 0, west, 0, -step, north), get_crs(whole))


def list_outlines(shape: BaseGeometry) -> Sequence[NDArray[np.float64]]:
    """List the rings of a shape as (N, 2) coordinates."""
    polygons = [one for one in getattr(shape, "geoms", [shape]) if one.geom_type == "Polygon"]
    rings = [ring for one in polygons for ring in (one.exterior, *one.interiors)]
    return [np.asarray(ring.coords)[:, :2] for ring in rings]
