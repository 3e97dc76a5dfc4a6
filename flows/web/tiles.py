"""The grids of tiles, and which tiles they have."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException, Path
from morecantile import Tile, tms
from morecantile.defaults import TileMatrixSets

#: Those that hold the whole world; in others, what lies outside has no place.
GRIDS = TileMatrixSets({name: tms.get(name) for name in ("WebMercatorQuad", "WGS1984Quad")})
#: From the equator to where each of them ends.
HIGHEST_LATITUDE = 85.05


def asked_tile(
    tileMatrixSetId: Annotated[str, Path()],
    z: Annotated[int, Path(ge=0)],
    x: Annotated[int, Path(ge=0)],
    y: Annotated[int, Path(ge=0)],
) -> Tile:
    """The tile of a path; 404 when the grid has no such tile."""
    # an unknown grid is refused by the route itself, which lists those there are
    if tileMatrixSetId in GRIDS.list() and not GRIDS.get(tileMatrixSetId).is_valid(Tile(x, y, z)):
        raise HTTPException(404, f"{tileMatrixSetId} has no such tile")
    return Tile(x, y, z)


def asked_mercator_tile(
    z: Annotated[int, Path(ge=0)], x: Annotated[int, Path(ge=0)], y: Annotated[int, Path(ge=0)]
) -> Tile:
    """The tile of a path of the web's common grid; 404 when it has no such tile."""
    return asked_tile("WebMercatorQuad", z, x, y)
