"""One process of :mod:`segwatch.flows.web.pixels.decoding`: reads a request, answers it, until its input ends.

python -m segwatch.flows.web.pixels.decoder MEMORY_BYTES
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from segwatch.db.codec import load_profile
from segwatch.flows.web.pixels.decoding import ERRORS, READY, framed, received
from segwatch.geo.errors import AccessDenied, GeoError, ReadFailed, UnsafeHref
from segwatch.geo.raster import BAND_YX, YX, make_coordinates
from segwatch.geo.rendering import render
from segwatch.geo.sources.profiles import load
from segwatch.geo.sources.rasters.pixels import read
from segwatch.geo.types.scene import Item, Scene

_MAX_REQUEST_BYTES = 64 * 1024**2


def main() -> None:
    """Answer until there is nothing more to answer."""
    # whatever prints must not end up in an answer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    _load_lazy_imports()
    _limit(int(sys.argv[1]))
    answers.write(READY)
    answers.flush()
    while True:
        try:
            request = received(sys.stdin.buffer, _MAX_REQUEST_BYTES)
        except EOFError:
            return
        answers.write(_answer(json.loads(request)))
        answers.flush()


def _load_lazy_imports() -> None:
    """Make a raster, so that what xarray and pyproj load at first use does not count as the memory of a request."""
    grid = GeoBox((1, 1), Affine(10, 0, 500_000, 0, -10, 5_100_000), "EPSG:32633")
    coordinates = make_coordinates(grid)
    bands = xr.DataArray(np.zeros((3, 1, 1), np.float32), dims=BAND_YX, coords=coordinates)
    render(bands, xr.DataArray(np.ones((1, 1), bool), dims=YX, coords=coordinates), load("rgb-cog"))


def _limit(memory_bytes: int) -> None:
    """No more memory than now and so much, and no picture of it on disk when it dies."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(request: dict[str, Any]) -> bytes:
    try:
        grid = _grid(request)
        profile = load_profile(request["profile"])
        window = read(
            _scene(request["items"]),
            profile,
            grid,
            allowed_hosts=request["hosts"],
            credentials=request["credentials"],
            seconds=request["reading_seconds"],
        )
        rgb = render(window.bands, window.valid, profile)
    except GeoError as error:
        return framed(json.dumps(_told(error)).encode())
    return framed(b"{}") + rgb.values.tobytes() + window.valid.values.tobytes()


def _told(error: GeoError) -> dict[str, Any]:
    if isinstance(error, ReadFailed):
        values = [error.asset, error.href, error.reason]
    elif isinstance(error, UnsafeHref):
        values = [error.href, error.reason]
    elif isinstance(error, AccessDenied):
        values = [error.source, error.reason]
    else:
        values = []
    name = next((name for name, kind in ERRORS.items() if isinstance(error, kind)), "")
    return {"error": name, "values": [one[:2000] for one in values]}


def _grid(request: dict[str, Any]) -> GeoBox:
    height, width = request["shape"]
    return GeoBox((height, width), Affine(*request["transform"]), CRS.from_wkt(request["crs"]))


def _scene(documents: list[dict[str, Any]]) -> Scene:
    """With all that reading needs, and nothing more."""
    nowhere = shapely.Polygon()
    items = tuple(
        Item(
            **{**one, "acquired_at": datetime.fromisoformat(one["acquired_at"])},
            updated_at=None,
            footprint=nowhere,
        )
        for one in documents
    )
    first = items[0]
    return Scene(
        first.collection, first.platform, first.relative_orbit, date.min, first.acquired_at, items, nowhere
    )


if __name__ == "__main__":
    main()
