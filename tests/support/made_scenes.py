"""A made time series whose ground truth is known exactly: lakes that appear, grow, shrink and disappear.

The grid has square pixels in UTM. Truth is given by the pixels themselves (`MadeDate.water`), so a segmenter
by colour reproduces it without error. Everything follows from the spec: the same spec, the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry import Polygon, box

from demo.build_catalog import stac_asset, stac_collection, stac_item, write_catalog, write_cog

Mask = NDArray[np.bool_]
WATER = (35, 70, 120)
GREEN = (70, 110, 50)
BROWN = (140, 115, 80)
CLOUD = (235, 238, 240)


@dataclass(frozen=True)
class Lake:
    """One lake: an ellipse-like shape in pixels, with its radius at each date (0 = not there)."""

    name: str
    row: float
    col: float
    radii: tuple[float, ...]


@dataclass(frozen=True)
class SeriesSpec:
    """What to make. ``clouds`` has a (row, col, height, width) rectangle of pixels for each date, or None."""

    collection: str = "made-lakes"
    days: tuple[str, ...] = ("05-01", "05-11", "05-21", "05-31", "06-10", "06-20", "06-30")
    year: int = 2024
    lakes: tuple[Lake, ...] = (
        # grows at the second date
        Lake("growing", 110, 110, (40, 56, 56, 56, 56, 56, 56)),
        # shrinks at the fifth; under the partial cloud at the third
        Lake("shrinking", 120, 300, (46, 46, 46, 46, 26, 26, 26)),
        # appears at the second, disappears at the sixth
        Lake("passing", 300, 90, (0, 34, 34, 34, 34, 0, 0)),
        Lake("steady", 300, 290, (38,) * 7),
    )
    clouds: tuple[tuple[int, int, int, int] | None, ...] = (
        None,
        None,
        (0, 200, 400, 200),
        (0, 0, 400, 400),
        None,
        None,
        None,
    )
    size_px: int = 400
    gsd_m: float = 10.0
    epsg: int = 32633
    left: float = 500_000.0
    top: float = 5_100_000.0
    seed: int = 7


@dataclass(frozen=True)
class MadeDate:
    """Truth of one date."""

    acquired_at: datetime
    water: Mask
    """(H, W): water on the ground, seen or not."""
    clear: Mask
    """(H, W): not under cloud."""
    lakes: dict[str, Polygon]
    """Outlines of the lakes that are there, EPSG:4326, following the pixels' edges."""


@dataclass(frozen=True)
class MadeSeries:
    """Where the series was written, and its truth."""

    imagery: Path
    """Root of the files; hrefs are ``{imagery}/<collection>/...``."""
    stac: Path
    """Folder in the layout of demo/stac."""
    area: Polygon
    """Area covered by the imagery less a rim of two pixels, EPSG:4326."""
    items: list[dict[str, Any]]
    dates: tuple[MadeDate, ...]
    profile: Path
    """Source profile (TOML) that fits the collection."""


def make_series(folder: Path, spec: SeriesSpec | None = None) -> MadeSeries:
    """Write imagery, cloud masks, STAC items and a profile below ``folder``."""
    spec = spec or SeriesSpec()
    transform = Affine(spec.gsd_m, 0, spec.left, 0, -spec.gsd_m, spec.top)
    land = _land(spec)
    items, dates = [], []
    for index, day in enumerate(spec.days):
        made = _date(spec, index, transform)
        noise = np.random.default_rng(spec.seed + 100 + index)
        _write(
            folder / "imagery" / spec.collection, day, _paint(land, made, noise), made.clear, spec, transform
        )
        items.append(_item(spec, day, made, transform))
        dates.append(made)
    description = "Lakes with known outlines."
    collection = stac_collection(
        spec.collection, "Made lakes", description, items, licence="CC0-1.0", providers=["segwatch tests"]
    )
    write_catalog(folder / "stac", collection, items)
    profile = folder / f"{spec.collection}.toml"
    profile.write_text(_PROFILE.format(collection=spec.collection, gsd=spec.gsd_m), encoding="utf-8")
    rim = 2 * spec.gsd_m
    side = spec.size_px * spec.gsd_m
    inner = box(spec.left + rim, spec.top - side + rim, spec.left + side - rim, spec.top - rim)
    return MadeSeries(
        folder / "imagery", folder / "stac", _lonlat(inner, spec.epsg), items, tuple(dates), profile
    )


def put_base(items: list[dict[str, Any]], imagery_url: str) -> list[dict[str, Any]]:
    """Copies of the items with ``{imagery}`` replaced by the address of a server."""
    return [
        {
            **item,
            "assets": {
                name: {**asset, "href": asset["href"].replace("{imagery}", imagery_url)}
                for name, asset in item["assets"].items()
            },
        }
        for item in items
    ]


_PROFILE = """title = "made lakes"
collection = "{collection}"
gsd_m = {gsd}
low = 0
high = 255
hosts = ["127.0.0.1", "localhost"]
[bands]
red = {{ asset = "image", index = 1 }}
green = {{ asset = "image", index = 2 }}
blue = {{ asset = "image", index = 3 }}
[clouds]
asset = "cloud"
unclear_values = [1]
"""


def _date(spec: SeriesSpec, index: int, transform: Affine) -> MadeDate:
    water = np.zeros((spec.size_px, spec.size_px), bool)
    outlines = {}
    for lake in spec.lakes:
        mask = _lake(spec, lake, lake.radii[index])
        if mask.any():
            water |= mask
            outlines[lake.name] = _outline(mask, transform, spec.epsg)
    clear = np.ones_like(water)
    cloud = spec.clouds[index]
    if cloud is not None:
        row, col, height, width = cloud
        clear[row : row + height, col : col + width] = False
    acquired = datetime.fromisoformat(f"{spec.year}-{spec.days[index]}T10:00:00").replace(tzinfo=UTC)
    return MadeDate(acquired, water, clear, outlines)


def _lake(spec: SeriesSpec, lake: Lake, radius: float) -> Mask:
    """A round shape with lobes that keep their place while the radius changes."""
    rows, cols = np.mgrid[: spec.size_px, : spec.size_px] + 0.5
    angle = np.arctan2(rows - lake.row, cols - lake.col)
    phase = lake.row + 2 * lake.col
    wobble = 1 + 0.12 * np.sin(3 * angle + phase) + 0.06 * np.sin(5 * angle + 2 * phase)
    inside: Mask = np.hypot(rows - lake.row, cols - lake.col) < radius * wobble
    return inside


def _outline(mask: Mask, transform: Affine, epsg: int) -> Polygon:
    rows, cols = np.nonzero(mask)
    left, top = transform.c + cols * transform.a, transform.f + rows * transform.e
    squares = shapely.box(left, top + transform.e, left + transform.a, top)
    joined = shapely.union_all(squares)
    if not isinstance(joined, Polygon):
        raise ValueError(f"a made lake must be one polygon, got {joined.geom_type}; choose another radius")
    return _lonlat(joined, epsg)


def _lonlat(polygon: Polygon, epsg: int) -> Polygon:
    transformer = Transformer.from_crs(CRS.from_epsg(epsg), CRS.from_epsg(4326), always_xy=True)

    def convert(coords: Any) -> Any:
        return np.column_stack(transformer.transform(coords[:, 0], coords[:, 1]))

    moved = shapely.transform(polygon, convert)
    return Polygon(moved.exterior, list(moved.interiors))


def _land(spec: SeriesSpec) -> NDArray[np.float64]:
    """(3, H, W): green and brown patches with texture, the same at every date."""
    random = np.random.default_rng(spec.seed)
    rows, cols = np.mgrid[: spec.size_px, : spec.size_px]
    share = np.zeros((spec.size_px, spec.size_px))
    for _ in range(12):
        row, col = random.uniform(0, spec.size_px, 2)
        share += random.uniform(-1, 1) * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 60.0**2))
    share = 1 / (1 + np.exp(-4 * share))
    colours = np.stack([brown + (green - brown) * share for green, brown in zip(GREEN, BROWN, strict=True)])
    return np.asarray(colours + random.normal(0, 5, (1, spec.size_px, spec.size_px)))


def _paint(land: NDArray[np.float64], made: MadeDate, random: np.random.Generator) -> NDArray[np.uint8]:
    """(3, H, W) uint8."""
    image = land.copy()
    image[:, made.water] = np.array(WATER)[:, None]
    image[:, ~made.clear] = np.array(CLOUD)[:, None]
    image += random.normal(0, 3, image.shape)
    return np.clip(np.rint(image), 1, 255).astype(np.uint8)


def _write(
    folder: Path, day: str, image: NDArray[np.uint8], clear: Mask, spec: SeriesSpec, transform: Affine
) -> None:
    crs = f"EPSG:{spec.epsg}"
    write_cog(folder / f"{day}.tif", image, crs, transform)
    write_cog(folder / f"{day}_cloud.tif", (~clear)[None].astype(np.uint8), crs, transform)


def _item(spec: SeriesSpec, day: str, made: MadeDate, transform: Affine) -> dict[str, Any]:
    base = f"{{imagery}}/{spec.collection}/{day}"
    assets = {
        "image": stac_asset(f"{base}.tif", ["red", "green", "blue"], "uint8"),
        "cloud": stac_asset(f"{base}_cloud.tif", ["cloud"], "uint8", role="cloud"),
    }
    properties = {
        "platform": "made-1",
        "sat:relative_orbit": 1,
        "gsd": spec.gsd_m,
        "eo:cloud_cover": round(float((~made.clear).mean()) * 100, 2),
    }
    identity = f"{spec.collection}-{spec.year}-{day}"
    shape = (spec.size_px, spec.size_px)
    crs = f"EPSG:{spec.epsg}"
    return stac_item(identity, spec.collection, made.acquired_at, crs, transform, shape, assets, properties)
