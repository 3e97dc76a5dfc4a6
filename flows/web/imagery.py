"""Map tiles of a scene, rendered exactly as the model sees it.

TiTiler routes and encodes; pixels come through :mod:`segwatch.geo.sources.pixels`, so the same rules for hrefs
hold as in the flows, and a caller can only name scenes that the ledger knows, never a URL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self, cast
from uuid import UUID

import numpy as np
from affine import Affine
from fastapi import Depends, HTTPException, Query
from morecantile import Tile, TileMatrixSet
from pyproj import CRS
from rio_tiler.models import ImageData
from shapely import wkb
from shapely.geometry import box
from sqlalchemy import Engine
from titiler.core.dependencies import DefaultDependency
from titiler.core.factory import TilerFactory

from segwatch.db.codec import load_profile
from segwatch.flows.web import queries
from segwatch.flows.web.tiles import GRIDS, asked_tile
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import PixelGrid
from segwatch.geo.rendering import render
from segwatch.geo.sources import hrefs
from segwatch.geo.sources.access import Credentials
from segwatch.geo.sources.pixels import read
from segwatch.geo.types import Item, Profile, Scene

_TILE_PX = 256
_LARGEST_TILE_PX = 512


@dataclass(frozen=True, slots=True)
class ShownScene:
    """A scene, how a watch renders it, and where its pixels may come from."""

    scene: Scene
    profile: Profile
    hosts: tuple[str, ...]
    credentials: Credentials = field(default_factory=dict)


class SceneReader:
    """The part of rio-tiler's reader interface that map tiles need."""

    def __init__(self, shown: ShownScene, tms: TileMatrixSet, **_: object) -> None:
        self._shown = shown
        self._tms = tms

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open between tiles."""

    def tile(self, x: int, y: int, z: int, *, tilesize: int | None = None, **_: object) -> ImageData:
        """(3, size, size) uint8; transparent where the scene shows nothing.

        Raises
        ------
        ReadFailed, UnsafeHref
            See :func:`segwatch.geo.sources.pixels.read`.
        """
        size = min(tilesize or _TILE_PX, _LARGEST_TILE_PX)
        left, bottom, right, top = self._tms.xy_bounds(Tile(x, y, z))
        crs = CRS.from_user_input(self._tms.crs.to_wkt())
        step = (right - left) / size
        grid = PixelGrid(crs, Affine(step, 0, left, 0, -step, top), size, size)
        ground = to_lonlat(box(left, bottom, right, top), crs)
        shown = self._shown
        if ground.intersects(shown.scene.footprint):
            window = read(
                shown.scene, shown.profile, grid, allowed_hosts=shown.hosts, credentials=shown.credentials
            )
            rgb, valid = render(window.bands, window.valid, shown.profile), window.valid
        else:
            rgb, valid = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), bool)
        mask = np.broadcast_to(~valid, (3, size, size))
        image = np.ma.MaskedArray(np.moveaxis(rgb, -1, 0), mask=mask)
        return ImageData(image, crs=self._tms.rasterio_crs, bounds=(left, bottom, right, top))


class SceneTiler(TilerFactory):
    """Map tiles and nothing else of TiTiler's endpoints, and none of its ways to compute and colour them."""

    def register_routes(self) -> None:
        """Only ``/tiles``."""
        self.tile()  # type: ignore[no-untyped-call]


def router(engine: Engine, credentials: Callable[[str], Credentials]) -> Any:
    """Routes ``/tiles/{tms}/{z}/{x}/{y}.png?watch=NAME&scene=ID``."""
    reader = cast(Any, SceneReader)  # TiTiler asks for a BaseReader and uses what SceneReader has
    return SceneTiler(
        reader=reader,
        supported_tms=GRIDS,
        path_dependency=_finder(engine, credentials),
        layer_dependency=DefaultDependency,
        dataset_dependency=DefaultDependency,
        tile_dependency=DefaultDependency,
        process_dependency=_nothing,
        colormap_dependency=_nothing,
        render_dependency=DefaultDependency,
    ).router


def _nothing() -> None:
    """No parameter of the request is read."""


def _finder(engine: Engine, credentials: Callable[[str], Credentials]) -> Callable[..., ShownScene]:
    def find(
        watch: Annotated[str, Query(description="name of the watch")],
        scene: Annotated[UUID, Query(description="id of the scene")],
        _: Annotated[Tile, Depends(asked_tile)],
    ) -> ShownScene:
        with engine.connect() as conn:
            rows = queries.imagery(conn, watch, str(scene))
        if not rows:
            raise HTTPException(404, f"watch {watch} has no scene {scene}")
        shown = shown_scene(rows)
        return replace(shown, credentials=credentials(shown.profile.name))

    return find


def shown_scene(rows: queries.Rows) -> ShownScene:
    """The items of one scene, as ``watch.readable_imagery`` gives them."""
    first = rows[0]
    profile = load_profile(first["profile"])
    items = tuple(
        Item(
            id=row["item_id"],
            collection=row["collection"],
            href=row["item_href"],
            acquired_at=row["item_acquired_at"],
            updated_at=row["updated_at"],
            platform=row["platform"],
            relative_orbit=row["relative_orbit"],
            processing_baseline=row["processing_baseline"],
            footprint=wkb.loads(row["geom"], hex=True),
            assets=row["assets"] | row["links"],
            properties=row["properties"],
        )
        for row in rows
    )
    footprint = items[0].footprint
    for item in items[1:]:
        footprint = footprint.union(item.footprint)
    scene = Scene(
        first["collection"],
        first["platform"],
        first["relative_orbit"],
        first["solar_day"],
        first["acquired_at"],
        items,
        footprint,
    )
    return ShownScene(scene, profile, hrefs.readable_hosts(profile, first["catalog"]))
