"""Polygonise a mask: strip by strip as segwatch does, and with polygonisers that need the whole mask at once."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from segwatch.geo.polygons import Tracer

_QUICK, _FULL = 1024, 8192
_STRIP = 512


def run(*, quick: bool) -> dict[str, float | int]:
    """Measure time and peak memory of each way, as ratios to segwatch's; all must give the same polygons."""
    side = _QUICK if quick else _FULL
    figures: dict[str, float | int] = {}
    print(
        f"\n{'a mask of ' + str(side) + ' px a side':<34} {'seconds':>8} {'MiB':>7} {'polygons':>9} {'m2':>12}"
    )
    results = {}
    for name in _WAYS:
        command = [sys.executable, "-m", __name__, name, str(side)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
        results[name] = got = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:<34} {got['seconds']:>8.2f} {got['mib']:>7} {got['polygons']:>9} {got['area']:>12.0f}")
    ours = results["segwatch"]
    figures["polygons"] = ours["polygons"]
    figures["polygons_seconds"] = ours["seconds"]
    figures["polygons_mib"] = ours["mib"]
    for name, got in results.items():
        if (got["polygons"], got["area"], got["perimeter"]) != (
            ours["polygons"],
            ours["area"],
            ours["perimeter"],
        ):
            raise RuntimeError(f"{name} gives other polygons: {got} against {ours}")
        if name != "segwatch":
            figures[f"{name}_seconds_ratio"] = round(got["seconds"] / ours["seconds"], 2)
            figures[f"{name}_mib_ratio"] = round(got["mib"] / ours["mib"], 2)
    return figures


def _strips(side: int) -> list[NDArray[np.bool_]]:
    """Make rows of a mask with patches of many sizes, strip by strip, so that the whole mask need not be held."""
    made = []
    for row in range(0, side, _STRIP):
        rng = np.random.default_rng(row)
        noise = ndimage.gaussian_filter(rng.standard_normal((_STRIP, side), dtype=np.float32), 6)
        made.append(noise > 0.03)
    return made


def _segwatch(side: int) -> list[BaseGeometry]:
    tracer = Tracer(side)
    found = [region.outline for strip in _strips(side) for region in tracer.add(strip)]
    return [*found, *(region.outline for region in tracer.end())]


def _rasterio(side: int) -> list[BaseGeometry]:
    mask = np.concatenate(_strips(side))
    return [shape(outline) for outline, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]


def _geos(side: int) -> list[BaseGeometry]:
    """Unite the runs of every row."""
    mask = np.concatenate(_strips(side))
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, begins = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    runs = shapely.box(begins, rows, ends, rows + 1)
    return list(shapely.get_parts(shapely.union_all(runs)).tolist())


_WAYS: dict[str, Callable[[int], list[BaseGeometry]]] = {
    "segwatch": _segwatch,
    "rasterio": _rasterio,
    "geos": _geos,
}


def main() -> None:
    """Polygonise one mask in one way and print the figures."""
    name, side = sys.argv[1], int(sys.argv[2])
    begun = time.perf_counter()
    found = _WAYS[name](side)
    seconds = time.perf_counter() - begun
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    figures = {
        "seconds": round(seconds, 2),
        "mib": mib,
        "polygons": len(found),
        "area": float(shapely.area(found).sum()),
        "perimeter": float(shapely.length(found).sum()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
