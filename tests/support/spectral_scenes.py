"""Real scenes of a river that moved, in a ledger, and segmenters for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine

from segwatch.db import observations, scenes, watches
from segwatch.flows.inference.segmenters import Prediction, Tiles
from segwatch.geo.sources import profiles
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import Profile
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.serving import serving_files

DATA = Path(__file__).parents[1] / "data" / "spectral"
YEARS = (1985, 2015)
#: A year that shows the river as the last of these did.
UNCHANGED = 2016
_PROFILE = """title = "Landsat composites"
collection = "pucallpa"
gsd_m = 90.0
nodata = 0
low = 0
high = 255
hosts = ["127.0.0.1"]
[bands]
red = { asset = "image", index = 1 }
green = { asset = "image", index = 2 }
blue = { asset = "image", index = 3 }
"""
#: Values of the first channel, which shows SWIR1, below which the main segmenter finds water.
_DARK = 45


def make_profile(folder: Path, *, spectral: bool = True) -> Profile:
    """Write and load the profile of the scenes, with or without bands for indices."""
    bands = {"green": 4, "red": 3, "nir": 2, "swir1": 1} if spectral else {}
    lines = [f'{name} = {{ asset = "image", index = {index} }}' for name, index in bands.items()]
    file = folder / f"pucallpa-{len(bands)}.toml"
    file.write_text(_PROFILE + "[spectral]\n" * bool(bands) + "\n".join(lines), encoding="utf-8")
    return profiles.load(str(file))


def read_area() -> BaseGeometry:
    """AOI of the scenes, EPSG:4326."""
    with rasterio.open(DATA / "pucallpa-1985.tif") as file:
        return box(*file.bounds).buffer(-0.004)


@dataclass(frozen=True)
class _Answer:
    text: str
    mask_logits: NDArray[np.float32]


class DarkWater:
    """Main segmenter: water is dark in the short-wave infrared."""

    version = "dark@1"
    tile_px = 64

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """See :class:`segwatch.flows.inference.segmenters.Segmenter`."""
        return [[self._answer(tile) for _ in instructions] for tile in tiles]

    def _answer(self, tile: NDArray[np.uint8]) -> Prediction:
        darkness = (_DARK - tile[..., 0].astype(np.float32)) / 4
        return _Answer("dark", darkness[None].astype(np.float32))


class Broken:
    """A segmenter that always fails."""

    version = "broken@1"
    tile_px = 64

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """Fail."""
        raise RuntimeError("no such layer: mask_head.3")


def make_scene(url: str, year: int, area: BaseGeometry) -> Scene:
    """The scene of one year, with its file on a server."""
    at = datetime(year, 7, 1, 15, tzinfo=UTC)
    item = Item(
        f"p{year}", "pucallpa", url, at, None, "landsat", "1", "", area, {"image": f"{url}/{year}.tif"}
    )
    return Scene("pucallpa", "landsat", "1", at.date(), at, (item,), area)


def dry_up(year: int) -> bytes:
    """The file of a year with land in place of all water."""
    with rasterio.open(DATA / f"pucallpa-{year}.tif") as file:
        pixels, profile = file.read(), file.profile
    swir1, green = pixels[0].astype(float), pixels[3].astype(float)
    land = pixels[:, swir1 > 1.6 * green]
    wet = swir1 <= 1.6 * green
    pixels[:, wet] = land[:, np.random.default_rng(0).integers(0, land.shape[1], int(wet.sum()))]
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels)
        return bytes(memory.read())


@contextmanager
def serving_river(further: Mapping[str, bytes] | None = None) -> Iterator[str]:
    """Serve the scenes, with further files by their names; yields the server's URL."""
    files = {f"/{year}.tif": (DATA / f"pucallpa-{year}.tif").read_bytes() for year in YEARS}
    files[f"/{UNCHANGED}.tif"] = files[f"/{YEARS[-1]}.tif"]
    files |= {f"/{name}.tif": content for name, content in (further or {}).items()}
    with serving_files(files) as server:
        yield server.url


def queue_river(
    engine: Engine,
    url: str,
    profile: Profile,
    version: str,
    years: Sequence[int] = YEARS,
    name: str = "river",
    **more: Any,
) -> None:
    """Apply a watch of the river's water, and queue the scenes of these years."""
    area = read_area()
    start = datetime(1980, 1, 1, tzinfo=UTC)
    given: dict[str, Any] = {
        "min_polygon_m2": 50_000.0,
        "instruction": Instruction("segment the water", ("water",)),
    }
    watch = Watch(name, area=area, profile=profile, catalog=url, start=start, **(given | more))
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
        ids = scenes.upsert(conn, [make_scene(url, year, area) for year in years])
        observations.enqueue(conn, revision, version, ids)
