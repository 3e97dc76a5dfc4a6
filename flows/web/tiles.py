"""Tile matrix sets that the server offers, and the tiles that exist in them."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException, Path
from morecantile import Tile, tms
from morecantile.defaults import TileMatrixSets

#: Only sets that cover the whole world; in others, objects outside would have no tile.
GRIDS = TileMatrixSets({name: tms.get(name) for name in ("WebMercatorQuad", "WGS1984Quad")})
#: Latitude to which all of them extend, in degrees.
MAX_LATITUDE = 85.05


def parse_tile(
    tileMatrixSetId: Annotated[str, Path()],
    z: Annotated[int, Path(ge=0)],
    x: Annotated[int, Path(ge=0)],
    y: Annotated[int, Path(ge=0)],
) -> Tile:
    """Parse the tile of a path; 404 if the tile matrix set has no such tile."""
    # the route itself refuses unknown sets and lists the known ones
    if tileMatrixSetId in GRIDS.list() and not GRIDS.get(tileMatrixSetId).is_valid(Tile(x, y, z)):
        raise HTTPException(404, f"{tileMatrixSetId} has no such tile")
    return Tile(x, y, z)


def parse_mercator_tile(
    z: Annotated[int, Path(ge=0)], x: Annotated[int, Path(ge=0)], y: Annotated[int, Path(ge=0)]
) -> Tile:
    """Parse the tile of a path in WebMercatorQuad; 404 if there is no such tile."""
    return parse_tile("WebMercatorQuad", z, x, y)
