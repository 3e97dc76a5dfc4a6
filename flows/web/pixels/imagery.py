"""Map tiles of a scene, rendered exactly as the model sees it.

Pixels come through :mod:`segwatch.geo.sources.rasters.pixels`, so the same rules for hrefs hold as in the flows, and a
caller can only name scenes that the ledger knows, never a URL. The ledger is asked for each tile, the scene's host only
for tiles that are not kept.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np
from affine import Affine
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from morecantile import Tile
from pyproj import CRS
from rio_tiler.models import ImageData
from shapely import wkb
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image

from segwatch.db import analyst
from segwatch.db.codec import load_profile
from segwatch.flows.web.caching import Flights, Made, TileCache, answer, is_known, unchanged
from segwatch.flows.web.guards.access import for_reader
from segwatch.flows.web.pixels import decoding
from segwatch.flows.web.pixels.renders import Renders
from segwatch.flows.web.tiles import GRIDS, asked_tile
from segwatch.geo.antimeridian import covered_by
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import PixelGrid
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.credentials import Credentials
from segwatch.geo.sources.rasters.pixels import Mask
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import Profile

_TILE_PX = 256
_MAX_TILE_PX = 512
#: Connections and threads that look scenes up.
LOOKUPS = 4
MAX_CACHE_BYTES = 128 * 2**20
#: A browser shows a tile that it has for a minute, then asks whether it is still the same.
_CACHE_CONTROL = "private, max-age=60"

_Grid = Literal["WebMercatorQuad", "WGS1984Quad"]


@dataclass(frozen=True, slots=True)
class ShownScene:
    """A scene, how a watch renders it, and where its pixels may come from."""

    scene: Scene
    profile: Profile
    hosts: tuple[str, ...]
    credentials: Credentials = field(default_factory=dict)

    def asked_hosts(self) -> frozenset[str]:
        """Hosts that its pixels are read from."""
        names = self.profile.assets()
        links = (item.assets[name] for item in self.scene.items for name in names if name in item.assets)
        return frozenset(urlsplit(link).netloc for link in links)


@dataclass(frozen=True, slots=True)
class AskedTile:
    """A tile of a scene, and the form that it is wanted in."""

    grid: str
    place: Tile
    size: int
    format: ImageType | None

    def pixels(self) -> PixelGrid:
        """Its pixels on the ground."""
        grid = GRIDS.get(self.grid)
        left, _, right, top = grid.xy_bounds(self.place)
        step = (right - left) / self.size
        crs = CRS.from_user_input(grid.crs.to_wkt())
        return PixelGrid(crs, Affine(step, 0, left, 0, -step, top), self.size, self.size)

    def ground(self) -> BaseGeometry:
        """Its ground, in degrees."""
        grid = GRIDS.get(self.grid)
        return to_lonlat(box(*grid.xy_bounds(self.place)), CRS.from_user_input(grid.crs.to_wkt()))


@dataclass(frozen=True, slots=True)
class _Found:
    """What the ledger knows of a scene."""

    shown: ShownScene
    digest: str
    """Changes with anything that the pixels depend on."""


def render_tile(shown: ShownScene, asked: AskedTile) -> tuple[bytes, str]:
    """The tile and its media type; transparent where the scene shows nothing.

    Raises
    ------
    ReadFailed, UnsafeHref, DecodersBusy
        See :func:`segwatch.flows.web.pixels.decoding.render`.
    """
    rendered = decoding.render(
        shown.scene, shown.profile, asked.pixels(), allowed_hosts=shown.hosts, credentials=shown.credentials
    )
    return _encoded(rendered.rgb, rendered.valid, asked)


def blank_tile(asked: AskedTile) -> tuple[bytes, str]:
    """A tile that shows nothing, and its media type."""
    size = (asked.size, asked.size)
    return _encoded(np.zeros((*size, 3), np.uint8), np.zeros(size, bool), asked)


def _encoded(
    rgb: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], valid: Mask, asked: AskedTile
) -> tuple[bytes, str]:
    mask = np.broadcast_to(~valid, (3, asked.size, asked.size))
    grid = GRIDS.get(asked.grid)
    image = ImageData(
        np.ma.MaskedArray(np.moveaxis(rgb, -1, 0), mask=mask),
        crs=grid.rasterio_crs,
        bounds=tuple(grid.xy_bounds(asked.place)),
    )
    content, media_type = render_image(image, output_format=asked.format)
    return content, media_type


class SceneTiles:
    """Tiles of scenes, those that were asked for last ready-made."""

    def __init__(
        self, engine: Engine, credentials: Callable[[str], Credentials], hosts: Sequence[str]
    ) -> None:
        self._engine = engine
        self._credentials = credentials
        self._hosts = hosts
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="scene")
        self._renders = Renders()
        self._kept: TileCache[str] = TileCache(MAX_CACHE_BYTES)
        self._flights: Flights[str, Made] = Flights()

    async def answer(self, request: Request, watch: str, scene: UUID, asked: AskedTile) -> Response:
        """The tile; 304 for who has it already; 404 where the watch has no such scene."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._lookups, for_reader(self._find), watch, scene)
        # of what the tile is made from, so that who has it needs no rendering to hear that it is the same
        key = hashlib.sha256(f"{found.digest} {asked!r}".encode()).hexdigest()
        etag = f'"{key[:32]}"'
        if is_known(request, etag):
            return unchanged(etag, _CACHE_CONTROL)
        made = self._kept.get(key)
        if made is None:
            made = await self._flights.join(key, lambda: self._make(key, etag, found.shown, asked))
        return answer(request, made, _CACHE_CONTROL)

    async def _make(self, key: str, etag: str, shown: ShownScene, asked: AskedTile) -> Made:
        loop = asyncio.get_running_loop()
        if await loop.run_in_executor(self._lookups, _shows, shown, asked):
            made = await self._renders.run(shown.asked_hosts(), partial(render_tile, shown, asked))
        else:
            made = await loop.run_in_executor(self._lookups, blank_tile, asked)
        tile = Made(*made, etag)
        self._kept.put(key, tile)
        return tile

    def _find(self, watch: str, scene: UUID) -> _Found:
        with self._engine.connect() as conn:
            rows = analyst.list_readable_items(conn, watch, str(scene))
        if not rows:
            raise HTTPException(404, f"watch {watch} has no scene {scene}")
        shown = shown_scene(rows, self._hosts)
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        return _Found(replace(shown, credentials=self._credentials(shown.profile.name)), digest)


def _shows(shown: ShownScene, asked: AskedTile) -> bool:
    return bool(asked.ground().intersects(shown.scene.footprint))


def router(engine: Engine, credentials: Callable[[str], Credentials], hosts: Sequence[str] = ()) -> APIRouter:
    """Routes ``/tiles/{tms}/{z}/{x}/{y}.png?watch=NAME&scene=ID``; ``hosts`` may be read from besides the sources'."""
    routes, tiles = APIRouter(), SceneTiles(engine, credentials, hosts)

    @routes.get("/tiles/{tileMatrixSetId}/{z}/{x}/{y}", response_class=Response)
    @routes.get("/tiles/{tileMatrixSetId}/{z}/{x}/{y}.{format}", response_class=Response)
    async def tile(
        request: Request,
        tileMatrixSetId: _Grid,
        place: Annotated[Tile, Depends(asked_tile)],
        watch: Annotated[str, Query(description="name of the watch")],
        scene: Annotated[UUID, Query(description="id of the scene")],
        format: ImageType | None = None,
        tilesize: Annotated[int, Query(gt=0, description="pixels of a side")] = _TILE_PX,
    ) -> Response:
        """A tile of a scene as the model sees it; without a format PNG where it is masked, else JPEG."""
        asked = AskedTile(tileMatrixSetId, place, min(tilesize, _MAX_TILE_PX), format)
        return await tiles.answer(request, watch, scene, asked)

    return routes


def shown_scene(rows: analyst.Rows, hosts: Sequence[str] = ()) -> ShownScene:
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
    scene = Scene(
        first["collection"],
        first["platform"],
        first["relative_orbit"],
        first["solar_day"],
        first["acquired_at"],
        items,
        covered_by([item.footprint for item in items]),
    )
    return ShownScene(scene, profile, hrefs.readable_hosts(profile, first["catalog"], hosts))
