"""Description of a collection's tiles in one tile matrix set (OGC API Tiles, requirement class tileset).

tipg names the link to the tiles and its variables otherwise than the standard does, and counts one row and column too
many.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Path, Request, Response
from fastapi.responses import JSONResponse
from morecantile import TileMatrixSet
from tipg import dependencies
from tipg.factory import OGCTilesFactory
from tipg.model import TileSet
from tipg.resources.enums import MediaType

from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.ogcapi.items import Requested
from segwatch.flows.web.tiles import GRIDS

_NAME = "collection_tileset"
_CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_SCHEME = "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme"


def replace_tileset_route(factory: OGCTilesFactory) -> None:
    """Replace tipg's route ``GET /collections/{collectionId}/tiles/{tileMatrixSetId}``."""
    routes = factory.router.routes
    routes[:] = [one for one in routes if getattr(one, "name", "") != _NAME]

    @factory.router.get(
        "/collections/{collectionId}/tiles/{tileMatrixSetId}",
        name=_NAME,
        responses={200: {"model": TileSet}, **REFUSALS},
        tags=["OGC Tiles API"],
    )
    def collection_tileset(
        request: Request,
        collection: Requested,
        tileMatrixSetId: Annotated[str, Path(description="tile matrix set")],
        output: Annotated[MediaType | None, Depends(dependencies.OutputType)] = None,
    ) -> Response:
        """Describe the tiles of a collection in a tile matrix set."""
        if tileMatrixSetId not in GRIDS.list():
            raise HTTPException(
                404, f"there are no tiles in {tileMatrixSetId}; there are in {', '.join(GRIDS.list())}"
            )
        links = _make_links(factory, request, collection.id, tileMatrixSetId)
        described = _describe(GRIDS.get(tileMatrixSetId), collection.bounds, links)
        document = TileSet.model_validate({"title": f"{collection.id} in {tileMatrixSetId}", **described})
        plain = document.model_dump(exclude_none=True, mode="json")
        if output is MediaType.html:
            html: Response = factory._create_html_response(
                request, plain, template_name="tileset", title=f"{collection.id} {tileMatrixSetId} tileset"
            )
            return html
        return JSONResponse(plain)


def _describe(grid: TileMatrixSet, bounds: list[float] | None, links: list[dict[str, Any]]) -> dict[str, Any]:
    box = None
    if bounds is not None:
        box = {"lowerLeft": bounds[:2], "upperRight": bounds[2:4], "crs": _CRS84}
    limits = [_find_limits(grid, bounds, int(one.id)) for one in grid]
    return {
        "dataType": "vector",
        "crs": grid.crs,
        "boundingBox": box,
        "links": links,
        "tileMatrixSetLimits": limits,
    }


def _find_limits(grid: TileMatrixSet, bounds: list[float] | None, zoom: int) -> dict[str, Any]:
    """Find the rows and columns of the tiles that meet the bounds; all of them where the antimeridian is crossed."""
    matrix = grid.matrix(zoom)
    rows, columns = matrix.matrixHeight - 1, matrix.matrixWidth - 1
    first, last = (0, 0), (columns, rows)
    if bounds is not None and bounds[0] <= bounds[2]:
        upper, lower = grid.tile(bounds[0], bounds[3], zoom), grid.tile(bounds[2], bounds[1], zoom)
        first = max(upper.x, 0), max(upper.y, 0)
        last = min(lower.x, columns), min(lower.y, rows)
    return {
        "tileMatrix": matrix.id,
        "minTileRow": first[1],
        "maxTileRow": last[1],
        "minTileCol": first[0],
        "maxTileCol": last[0],
    }


def _make_links(
    factory: OGCTilesFactory, request: Request, collection: str, grid: str
) -> list[dict[str, Any]]:
    own = {"collectionId": collection, "tileMatrixSetId": grid}
    tile = factory.url_for(
        request, "collection_get_tile", **own, z="{tileMatrix}", x="{tileCol}", y="{tileRow}"
    )
    return [
        {"rel": "self", "type": "application/json", "href": factory.url_for(request, _NAME, **own)},
        {
            "rel": _SCHEME,
            "type": "application/json",
            "href": factory.url_for(request, "tilematrixset", tileMatrixSetId=grid),
        },
        {"rel": "item", "type": "application/vnd.mapbox-vector-tile", "href": tile, "templated": True},
    ]
