"""Decoder process of :mod:`segwatch.flows.web.pixels.decoding`: renders one tile per request until its input ends.

python -m segwatch.flows.web.pixels.decoder MEMORY_BYTES
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from segwatch.db.codec import load_profile
from segwatch.flows.web.pixels import wire
from segwatch.geo.errors import GeoError
from segwatch.geo.raster import BAND_YX, YX, make_coordinates
from segwatch.geo.rendering import render
from segwatch.geo.sources.profiles import load
from segwatch.geo.sources.rasters.pixels import read_scene


def main() -> None:
    """Answer requests on standard input until it ends."""
    # responses go to a copy of standard output, so that nothing that a library prints gets into them
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    _load_lazy_imports()
    _limit_memory(int(sys.argv[1]))
    output.write(wire.READY)
    output.flush()
    while True:
        try:
            request = wire.receive(sys.stdin.buffer, wire.MAX_REQUEST_BYTES)
        except EOFError:
            return
        output.write(_respond(json.loads(request)))
        output.flush()


def _load_lazy_imports() -> None:
    """Make a raster, so that what xarray and pyproj load at first use does not count as the memory of a request."""
    grid = GeoBox((1, 1), Affine(10, 0, 500_000, 0, -10, 5_100_000), "EPSG:32633")
    coordinates = make_coordinates(grid)
    bands = xr.DataArray(np.zeros((3, 1, 1), np.float32), dims=BAND_YX, coords=coordinates)
    render(bands, xr.DataArray(np.ones((1, 1), bool), dims=YX, coords=coordinates), load("rgb-cog"))


def _limit_memory(extra_bytes: int) -> None:
    """Limit the address space to the present size plus ``extra_bytes``, and write no core dump."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _respond(request: dict[str, Any]) -> bytes:
    try:
        grid = wire.parse_grid(request)
        profile = load_profile(request["profile"])
        window = read_scene(
            wire.parse_scene(request["items"]),
            profile,
            grid,
            allowed_hosts=request["hosts"],
            credentials=request["credentials"],
            seconds=request["reading_seconds"],
        )
        rgb = render(window.bands, window.valid, profile)
    except GeoError as error:
        return wire.frame(json.dumps(wire.dump_error(error)).encode())
    return wire.frame(b"{}") + rgb.values.tobytes() + window.valid.values.tobytes()


if __name__ == "__main__":
    main()
