"""Threads that draw masks and warp pixels at the same time print no warning."""

from __future__ import annotations

import subprocess
import sys

#: Threads change places all the time, so that without a filter for the whole process some call warns within a second.
_PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from segwatch.geo.footprint import AreaMask
from rasterio.warp import reproject

sys.setswitchinterval(1e-6)
place = Affine(10, 0, 500000, 0, -10, 5000000)
grid = GeoBox((64, 64), place, "EPSG:32633")
area = AreaMask(box(14.99, 45.14, 15.01, 45.16), grid)
pixels = np.ones((8, 8), "uint8")
options = dict(src_transform=place, dst_transform=place, src_crs=32633, dst_crs=32633)

def work(_):
    for _ in range(200):
        area.rasterize(grid)
        reproject(pixels, np.zeros_like(pixels), **options)

with ThreadPoolExecutor(8) as pool:
    list(pool.map(work, range(8)))
"""


def test_threads_that_rasterize_at_once_warn_of_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", _PROGRAM],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
