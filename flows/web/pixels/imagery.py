"""Map tiles and chips of scenes, rendered exactly as the model sees them.

Pixels are read by :mod:`segwatch.geo.sources.rasters.pixels`, with the same rules for hrefs as in the flows. A client
can only name scenes in the ledger, never a URL. Every request reads the ledger; the scene's host is read only for tiles
that are not cached.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
import rasterio.crs
from affine import Affine
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from morecantile import Tile
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rio_tiler.models import ImageData
from shapely.geometry import Point, box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image

from segwatch.db import analyst
from segwatch.flows.web.caching import (
    MadeTile,
    SingleFlight,
    TileCache,
    has_current_etag,
    respond_unchanged,
    respond_with_tile,
)
from segwatch.flows.web.guards.access import bind_reader
from segwatch.flows.web.guards.refusals import REFUSALS, describe_refusals
from segwatch.flows.web.pixels import decoding
from segwatch.flows.web.pixels.chips import CHIP_PX, MAX_CHIP_M, make_chip_grid
from segwatch.flows.web.pixels.renders import RenderPool
from segwatch.flows.web.pixels.shown import ShownScene, shown_scene
from segwatch.flows.web.tiles import GRIDS, parse_tile
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.sources.http.credentials import Credentials
from segwatch.geo.sources.rasters.pixels import Mask

_TILE_PX = 256
_MAX_TILE_PX = 512
#: Connections and threads for looking up scenes.
LOOKUPS = 4
MAX_CACHE_BYTES = 128 * 2**20
#: Browsers use a tile for a minute, then revalidate it.
_CACHE_CONTROL = "private, max-age=60"

_Grid = Literal["WebMercatorQuad", "WGS1984Quad"]


@dataclass(frozen=True, slots=True)
class TileRequest:
    """A requested tile: tile matrix set, indices, size in pixels and image format."""

    grid: str
    place: Tile
    size: int
    format: ImageType | None

    def make_grid(self) -> GeoBox:
        """Make the pixel grid of the tile, in the CRS of its tile matrix set."""
        grid = GRIDS.get(self.grid)
        left, _, right, top = grid.xy_bounds(self.place)
        step = (right - left) / self.size
        crs = CRS.from_user_input(grid.crs.to_wkt())
        return GeoBox((self.size, self.size), Affine(step, 0, left, 0, -step, top), crs)

    @property
    def xy_bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top in the CRS of the tile matrix set."""
        left, bottom, right, top = GRIDS.get(self.grid).xy_bounds(self.place)
        return left, bottom, right, top

    @property
    def rasterio_crs(self) -> rasterio.crs.CRS:
        """CRS of the tile matrix set."""
        return GRIDS.get(self.grid).rasterio_crs

    def make_footprint(self) -> BaseGeometry:
        """Make the footprint of the tile in EPSG:4326."""
        grid = GRIDS.get(self.grid)
        return to_lonlat(box(*grid.xy_bounds(self.place)), CRS.from_user_input(grid.crs.to_wkt()))


@dataclass(frozen=True, slots=True)
class ChipRequest:
    """A requested chip: a square picture around a point, for the labels of an assessment."""

    lon: float
    lat: float
    width_m: float
    size: int = _TILE_PX
    format: ImageType | None = None

    def make_grid(self) -> GeoBox:
        """Make the pixel grid of the chip; see :func:`segwatch.flows.web.pixels.chips.make_chip_grid`."""
        return make_chip_grid(self.lon, self.lat, self.width_m, self.size)

    @property
    def xy_bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top in metres from the point."""
        half = self.width_m / 2
        return -half, -half, half, half

    @property
    def rasterio_crs(self) -> rasterio.crs.CRS:
        """CRS of the chip."""
        return rasterio.crs.CRS.from_wkt(get_crs(self.make_grid()).to_wkt())

    def make_footprint(self) -> BaseGeometry:
        """Make the point that the chip is about, EPSG:4326."""
        return Point(self.lon, self.lat)


_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A picture",
        "content": {f"image/{one}": {} for one in ("png", "jpeg", "webp", "jp2", "tiff")},
    },
    **REFUSALS,
    **describe_refusals(502),
}
_Wanted = TileRequest | ChipRequest


@dataclass(frozen=True, slots=True)
class _Found:
    """A scene as found in the ledger."""

    shown: ShownScene
    digest: str
    """Changes with everything that the pixels depend on."""


def render_tile(shown: ShownScene, wanted: _Wanted) -> tuple[bytes, str]:
    """Render a tile; transparent where the scene has no data. Returns content and media type.

    Raises
    ------
    ReadFailed, UnsafeHref, DecodersBusy
        See :func:`segwatch.flows.web.pixels.decoding.render`.
    """
    rendered = decoding.render(
        shown.scene,
        shown.profile,
        wanted.make_grid(),
        allowed_hosts=shown.hosts,
        credentials=shown.credentials,
    )
    return _encode(rendered.rgb, rendered.valid, wanted)


def blank_tile(wanted: _Wanted) -> tuple[bytes, str]:
    """Make a transparent tile. Returns content and media type."""
    size = (wanted.size, wanted.size)
    return _encode(np.zeros((*size, 3), np.uint8), np.zeros(size, bool), wanted)


def _encode(
    rgb: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], valid: Mask, wanted: _Wanted
) -> tuple[bytes, str]:
    mask = np.broadcast_to(~valid, (3, wanted.size, wanted.size))
    image = ImageData(
        np.ma.MaskedArray(np.moveaxis(rgb, -1, 0), mask=mask),
        crs=wanted.rasterio_crs,
        bounds=wanted.xy_bounds,
    )
    content, media_type = render_image(image, output_format=wanted.format)
    return content, media_type


class SceneTiles:
    """Tiles of scenes, with a cache of the most recently used ones."""

    def __init__(
        self, engine: Engine, credentials: Callable[[str], Credentials], hosts: Sequence[str]
    ) -> None:
        self._engine = engine
        self._credentials = credentials
        self._hosts = hosts
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="scene")
        self._renders = RenderPool()
        self._cache: TileCache[str] = TileCache(MAX_CACHE_BYTES)
        self._running: SingleFlight[str, MadeTile] = SingleFlight()

    async def respond(self, request: Request, watch: str, scene: UUID, wanted: _Wanted) -> Response:
        """Respond with the tile; 304 if the client has it already; 404 if the watch has no such scene."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._lookups, bind_reader(self._find), watch, scene)
        # a digest of the inputs, so that revalidation needs no rendering
        key = hashlib.sha256(f"{found.digest} {wanted!r}".encode()).hexdigest()
        etag = f'"{key[:32]}"'
        if has_current_etag(request, etag):
            return respond_unchanged(etag, _CACHE_CONTROL)
        made = self._cache.get(key)
        if made is None:
            made = await self._running.join(key, lambda: self._make(key, etag, found.shown, wanted))
        return respond_with_tile(request, made, _CACHE_CONTROL)

    async def _make(self, key: str, etag: str, shown: ShownScene, wanted: _Wanted) -> MadeTile:
        loop = asyncio.get_running_loop()
        if await loop.run_in_executor(self._lookups, _has_pixels, shown, wanted):
            made = await self._renders.run(shown.list_hosts(), partial(render_tile, shown, wanted))
        else:
            made = await loop.run_in_executor(self._lookups, blank_tile, wanted)
        tile = MadeTile(*made, etag)
        self._cache.put(key, tile)
        return tile

    def _find(self, watch: str, scene: UUID) -> _Found:
        with self._engine.connect() as conn:
            rows = analyst.list_readable_items(conn, watch, str(scene))
        if not rows:
            raise HTTPException(404, f"watch {watch} has no scene {scene}")
        shown = shown_scene(rows, self._hosts)
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        return _Found(replace(shown, credentials=self._credentials(shown.profile.name)), digest)


def _has_pixels(shown: ShownScene, wanted: _Wanted) -> bool:
    return bool(wanted.make_footprint().intersects(shown.scene.footprint))


def make_router(
    engine: Engine, credentials: Callable[[str], Credentials], hosts: Sequence[str] = ()
) -> APIRouter:
    """Make the routes ``/tiles/{tms}/{z}/{x}/{y}.png?watch=NAME&scene=ID`` and ``/chips/{scene}.png``.

    Parameters
    ----------
    credentials
        Credentials for reading, by name of the profile.
    hosts
        Hosts that may be read from in addition to those of the sources.
    """
    routes, tiles = APIRouter(), SceneTiles(engine, credentials, hosts)

    @routes.get("/tiles/{tileMatrixSetId}/{z}/{x}/{y}", response_class=Response, responses=_PICTURES)
    @routes.get("/tiles/{tileMatrixSetId}/{z}/{x}/{y}.{format}", response_class=Response, responses=_PICTURES)
    async def tile(
        request: Request,
        tileMatrixSetId: _Grid,
        place: Annotated[Tile, Depends(parse_tile)],
        watch: Annotated[str, Query(description="Name of the watch.")],
        scene: Annotated[UUID, Query(description="Id of the scene.")],
        format: ImageType | None = None,
        tilesize: Annotated[int, Query(gt=0, description="Width and height in pixels.")] = _TILE_PX,
    ) -> Response:
        """Return a tile of a scene as the model sees it; by default PNG where it is masked, else JPEG."""
        wanted = TileRequest(tileMatrixSetId, place, min(tilesize, _MAX_TILE_PX), format)
        return await tiles.respond(request, watch, scene, wanted)

    @routes.get("/chips/{scene}.png", response_class=Response, responses=_PICTURES)
    async def chip(
        request: Request,
        scene: UUID,
        watch: Annotated[str, Query(description="Name of the watch.")],
        lon: Annotated[float, Query(ge=-180, le=180, description="Longitude of the middle, degrees.")],
        lat: Annotated[float, Query(ge=-90, le=90, description="Latitude of the middle, degrees.")],
        width_m: Annotated[
            float, Query(gt=0, le=MAX_CHIP_M, description="Width and height on the ground, metres.")
        ],
    ) -> Response:
        """Return a square picture of a scene around a point, as the model sees it."""
        return await tiles.respond(
            request, watch, scene, ChipRequest(lon, lat, width_m, CHIP_PX, ImageType.png)
        )

    return routes
