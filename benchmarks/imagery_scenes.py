"""Time, memory and bytes of one scene by its size: a sparse GeoTIFF behind a real HTTP server, a threshold as model.

Each scene is observed in its own process, whose peak memory the operating system reports.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
import rasterio
import shapely
import uvicorn
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.transform import from_origin
from rasterio.windows import Window

from segwatch.db.embedded.ports import reserve_port
from segwatch.db.ledger import LeasedObservation
from segwatch.flows.inference.strips import StripReader
from segwatch.flows.inference.tiled import ObservationGroup, compute_overlap, predict_group, split_grid
from segwatch.flows.services.imagery import create_app
from segwatch.geo.antimeridian import split_at_antimeridian
from segwatch.geo.crs import to_lonlat
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.segmentation import SegmentationRequest, TilePrediction
from segwatch.geo.types.source import BandRef, Profile
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Instruction, Watch

_CRS = CRS.from_epsg(32633)
_LEFT, _TOP = 300_000.0, 5_400_000.0
_GSD_M = 10.0
_BLOCK = 512
_QUICK, _FULL = (1024, 2048, 4096), (2048, 10_980, 40_000)
_SMALL_KM = 2.0
#: One block in this many has data; the others are not stored.
_STORED = 16


class _Threshold:
    """Predict bright pixels."""

    version = "threshold@1"
    tile_px = 1024

    def segment(
        self, tiles: Sequence[NDArray[np.uint8]], requests: Sequence[SegmentationRequest]
    ) -> list[list[TilePrediction]]:
        """See :class:`segwatch.flows.inference.segmenters.Segmenter`."""
        logits = (np.where(tile[:, :, 0] > 128, 4, -4).astype(np.float32)[None] for tile in tiles)
        return [[TilePrediction(one, "bright") for _ in requests] for one in logits]


def run(*, quick: bool) -> dict[str, float | int]:
    """Measure peak memory and time by size: in strips, with all rows at once, and for a small AOI of each scene."""
    figures: dict[str, float | int] = {}
    sides = _QUICK if quick else _FULL
    print(f"{'side':>7} {'what':<16} {'seconds':>8} {'MiB':>7} {'MB read':>8} {'regions':>8}")
    with tempfile.TemporaryDirectory() as folder, serve_folder(Path(folder)) as url:
        for side in sides:
            _write(Path(folder) / f"{side}.tif", side)
        for side in sides:
            figures |= _measured(url, side, "in strips", f"strips_{side}")
            if side <= (4096 if quick else 10_980):
                figures |= _measured(url, side, "all at once", f"whole_{side}")
            figures |= _measured(url, side, "a small area", f"small_{side}")
        figures["small_bytes_needed"] = _needed(Path(folder) / f"{sides[-1]}.tif")

    def ratio(one: str, other: str) -> float:
        return round(figures[one] / figures[other], 2)

    first, middle, last = sides[0], sides[1], sides[-1]
    return figures | {
        "small_bytes_ratio": ratio(f"small_{last}_bytes", "small_bytes_needed"),
        "small_mib_largest_to_smallest": ratio(f"small_{last}_mib", f"small_{first}_mib"),
        "mib_largest_to_smallest": ratio(f"strips_{last}_mib", f"strips_{first}_mib"),
        "whole_to_strips_mib": ratio(f"whole_{middle}_mib", f"strips_{middle}_mib"),
        "whole_to_strips_seconds": ratio(f"whole_{middle}_seconds", f"strips_{middle}_seconds"),
    }


def _measured(url: str, side: int, what: str, name: str) -> dict[str, float | int]:
    command = [sys.executable, "-m", __name__, "--url", url, "--side", str(side), "--what", what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{what} at {side}: {done.stderr[-2000:]}")
    got = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{side:>7} {what:<16} {got['seconds']:>8.2f} {got['mib']:>7} {got['bytes'] / 1e6:>8.1f} {got['regions']:>8}"
    )
    return {f"{name}_{key}": value for key, value in got.items()}


def _write(path: Path, side: int) -> None:
    """Write a scene in which every ``_STORED``-th block and those in the middle show bright fields on dark ground."""
    rng = np.random.default_rng(7)
    made = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "tiled": True}
    made |= {"blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "deflate", "SPARSE_OK": True}
    transform = from_origin(_LEFT, _TOP, _GSD_M, _GSD_M)
    with rasterio.open(path, "w", crs=_CRS.to_wkt(), transform=transform, BIGTIFF="IF_SAFER", **made) as file:
        number = 0
        for row in range(0, side, _BLOCK):
            for col in range(0, side, _BLOCK):
                number += 1
                in_the_middle = max(abs(at + _BLOCK / 2 - side / 2) for at in (row, col)) <= _BLOCK
                if number % _STORED and not in_the_middle:
                    continue
                height, width = min(_BLOCK, side - row), min(_BLOCK, side - col)
                block = rng.integers(20, 60, (height, width), dtype=np.uint8)
                for _ in range(12):
                    top, left = rng.integers(0, _BLOCK, 2)
                    block[top : top + 60, left : left + 60] = 200
                file.write(np.stack([block] * 3), window=Window(col, row, width, height))


def _needed(path: Path) -> int:
    """Return the bytes of the blocks that the small AOI in the middle of the scene touches."""
    total = 0
    with rasterio.open(path) as file:
        half = _SMALL_KM * 500 / _GSD_M
        centre = file.width / 2
        first, last = (int((centre + sign * half) // _BLOCK) for sign in (-1, 1))
        for row in range(first, last + 1):
            for col in range(first, last + 1):
                size = file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)
                total += int(size or 0)
    return max(total, 1)


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    held = reserve_port()
    port = held.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(folder), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def _group(url: str, side: int, what: str) -> tuple[Scene, ObservationGroup]:
    length = side * _GSD_M
    whole = shapely.box(_LEFT, _TOP - length, _LEFT + length, _TOP)
    if what == "a small area":
        looked_at = whole.centroid.buffer(_SMALL_KM * 500, cap_style="square")
    else:
        looked_at = whole.buffer(-2 * _GSD_M)
    area, footprint = (
        split_at_antimeridian(to_lonlat(one.segmentize(10_000), _CRS)) for one in (looked_at, whole)
    )
    now = datetime.now(UTC)
    href = f"{url}/{side}.tif"
    item = Item("one", "sparse", href, now, None, "made", "1", "", footprint, {"image": href})
    scene = Scene("sparse", "made", "1", date.today(), now, (item,), footprint)
    red, green, blue = (BandRef("image", index) for index in (1, 2, 3))
    profile = Profile("sparse", "sparse", "sparse", red, green, blue, low=0, high=255, gsd_m=_GSD_M)
    watch = Watch("bench", Instruction("segment the bright fields"), area, profile, url, now)
    leased = LeasedObservation(UUID(int=1), watch, 1)
    return scene, ObservationGroup((leased,), frozenset({"127.0.0.1:*"}), _Threshold.tile_px)


def _observe(url: str, side: int, what: str) -> dict[str, float | int]:
    scene, group = _group(url, side, what)
    segmenter = _Threshold()
    grid = group.view.grid
    side_px, at_once = segmenter.tile_px, what == "all at once"
    rows = grid.height if at_once else side_px - compute_overlap(side_px)
    columns = split_grid(grid, side_px, grid.width) if at_once else split_grid(grid, side_px)
    begun = time.perf_counter()
    with (
        ThreadPoolExecutor(1) as executor,
        StripReader(executor, scene, group.view, columns, rows) as reading,
    ):
        ((_, result),) = predict_group(group, reading, segmenter, 4)
        if not isinstance(result, ObservationResult):
            raise TypeError(result.reason)
        return {
            "seconds": round(time.perf_counter() - begun, 2),
            "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "bytes": reading.bytes_read,
            "regions": len(result.detections),
        }


def main() -> None:
    """Observe one scene and print its figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--what", required=True)
    options = parser.parse_args()
    print(json.dumps(_observe(options.url, options.side, options.what)))


if __name__ == "__main__":
    main()
