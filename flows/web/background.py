"""A ground of the map from another server, such as roads and relief, which a setting switches on."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import APIRouter

from segwatch.flows.config.settings.web import WebSettings
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.refusals import REFUSALS


@dataclass(frozen=True, slots=True)
class Background:
    """Raster tiles that browsers of readers ask another server for."""

    tiles: str
    """URL of a tile with {z}, {x} and {y}, web mercator, 256 pixels."""
    attribution: str

    @property
    def origin(self) -> str:
        """Scheme, host and port of that server, as a content policy names them."""
        parts = urlsplit(self.tiles)
        return f"{parts.scheme}://{parts.netloc}"


def find_background(settings: WebSettings) -> Background | None:
    """Return the ground that the settings switch on; None = only the base map that ships."""
    if not settings.map_tiles_url:
        return None
    return Background(settings.map_tiles_url, settings.map_tiles_attribution)


def make_router(background: Background | None) -> APIRouter:
    """Make the route that tells the page which ground to draw."""
    routes = APIRouter()

    @routes.get("/background", responses={200: {"model": schemas.MapBackground}, **REFUSALS})
    def find() -> dict[str, str | None]:
        """Return the raster tiles that the map shows below the imagery; ``tiles`` is null where none are set."""
        if background is None:
            return {"tiles": None, "attribution": ""}
        return {"tiles": background.tiles, "attribution": background.attribution}

    return routes
