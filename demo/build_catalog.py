"""Build the demo's imagery and STAC items from the original files.

    python demo/build_catalog.py ORIGINALS [--demo demo]

ORIGINALS contains ``sentinel2-slovenia`` and ``naip-cottonwood`` as named in demo/imagery/LICENSES.md. The output is
in the repository already; run this only to reproduce or change it. The items' hrefs begin with ``{imagery}``, which the
STAC server replaces with the URL of the imagery server.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry import box, mapping

STAC_VERSION = "1.0.0"
EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]
#: Fixed, so that the output is reproducible.
UPDATED = "2026-11-23T12:00:00Z"
_COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_cog(
    path: Path,
    bands: NDArray[Any],
    crs: str,
    transform: Affine,
    *,
    nodata: float | None = None,
    valid: NDArray[np.bool_] | None = None,
) -> None:
    """Write (bands, H, W) as a Cloud-Optimized GeoTIFF; ``valid`` (H, W) becomes the file's mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    # such small images need no overviews
    options = {"compress": "deflate", "level": 9, "predictor": 2, "blocksize": 256}
    options |= {"overviews": "NONE"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            driver="COG",
            count=count,
            height=height,
            width=width,
            dtype=bands.dtype,
            crs=crs,
            transform=transform,
            nodata=nodata,
            **options,
        ) as file,
    ):
        file.write(bands)
        if valid is not None:
            file.write_mask(valid)


def stac_asset(
    href: str, bands: Sequence[str], dtype: str, *, scale: float = 1.0, role: str = "data"
) -> dict[str, Any]:
    """Make an asset with one entry of ``eo:bands`` and ``raster:bands`` for each band."""
    return {
        "href": href,
        "type": _COG_TYPE,
        "roles": [role],
        "eo:bands": [
            {"name": name, "common_name": name} if role == "data" else {"name": name} for name in bands
        ],
        "raster:bands": [{"data_type": dtype, "scale": scale, "offset": 0.0} for _ in bands],
    }


def stac_item(
    identity: str,
    collection: str,
    acquired: datetime,
    crs: str,
    transform: Affine,
    shape: tuple[int, int],
    assets: dict[str, Any],
    properties: dict[str, Any],
) -> dict[str, Any]:
    """Make an item; ``shape`` is (height, width)."""
    height, width = shape
    left, top = transform * (0, 0)
    right, bottom = transform * (width, height)
    to_lonlat = Transformer.from_crs(CRS.from_user_input(crs), CRS.from_epsg(4326), always_xy=True)
    corners = shapely.get_coordinates(box(left, bottom, right, top))
    footprint = shapely.Polygon(np.column_stack(to_lonlat.transform(corners[:, 0], corners[:, 1])))
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": EXTENSIONS,
        "id": identity,
        "collection": collection,
        "geometry": mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": acquired.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "created": UPDATED,
            "updated": UPDATED,
            "proj:epsg": CRS.from_user_input(crs).to_epsg(),
            "proj:shape": [height, width],
            "proj:transform": list(transform)[:6],
            **properties,
        },
        "assets": assets,
        "links": [],
    }


def stac_collection(
    identity: str,
    title: str,
    description: str,
    items: Sequence[dict[str, Any]],
    *,
    licence: str,
    providers: Sequence[str],
) -> dict[str, Any]:
    """Make the collection of the items, with their joint extent."""
    boxes = np.array([item["bbox"] for item in items])
    times = sorted(item["properties"]["datetime"] for item in items)
    extent = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": identity,
        "title": title,
        "description": description,
        "license": licence,
        "providers": [{"name": name} for name in providers],
        "extent": {"spatial": {"bbox": [extent]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "links": [],
    }


def write_catalog(folder: Path, collection: dict[str, Any], items: Sequence[dict[str, Any]]) -> None:
    """Write ``<folder>/<collection>/collection.json`` and ``items/<id>.json`` beside it."""
    target = folder / collection["id"]
    (target / "items").mkdir(parents=True, exist_ok=True)
    _write(target / "collection.json", collection)
    for item in items:
        _write(target / "items" / f"{item['id']}.json", item)


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def slovenia(originals: Path, imagery: Path) -> Iterator[dict[str, Any]]:
    """Write red, green, blue, near infrared and the cloud mask of five dates; yield their items."""
    collection = "sentinel-2-l1c-slovenia"
    for source in sorted(originals.glob("S2_L1C_????-??-??.tif")):
        date = source.stem.removeprefix("S2_L1C_")
        with rasterio.open(source) as file:
            bands = file.read([4, 3, 2, 8])
            crs, transform = file.crs.to_string(), file.transform
        with rasterio.open(source.with_name(f"{source.stem}_cloud.tif")) as file:
            cloud = file.read()
        folder = imagery / "sentinel2-slovenia"
        write_cog(folder / f"{date}.tif", bands, crs, transform, nodata=0)
        write_cog(folder / f"{date}_cloud.tif", cloud, crs, transform)
        base = f"{{imagery}}/sentinel2-slovenia/{date}"
        assets = {
            "image": stac_asset(f"{base}.tif", ["red", "green", "blue", "nir"], "uint16", scale=0.0001),
            "cloud": stac_asset(f"{base}_cloud.tif", ["cloud"], "uint8", role="cloud"),
        }
        # the originals have no time of day; the satellite passes at about ten
        acquired = datetime.fromisoformat(f"{date}T10:00:00+00:00")
        properties = {
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "gsd": 10.0,
            "eo:cloud_cover": round(float(cloud.mean()) * 100, 2),
        }
        yield stac_item(
            f"S2A_slovenia_{date}", collection, acquired, crs, transform, bands.shape[1:], assets, properties
        )


def cottonwood(originals: Path, imagery: Path) -> Iterator[dict[str, Any]]:
    """Write the bands of four dates and yield their items; 0 is a valid dark value, so a mask marks valid pixels."""
    for source in sorted(originals.glob("m_*.tif")):
        day = source.stem.rsplit("_", 1)[1]
        date = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        with rasterio.open(source) as file:
            bands = file.read()
            crs, transform = file.crs.to_string(), file.transform
        valid = (bands != 0).any(axis=0)
        write_cog(imagery / "naip-cottonwood" / f"{date}.tif", bands, crs, transform, valid=valid)
        href = f"{{imagery}}/naip-cottonwood/{date}.tif"
        assets = {"image": stac_asset(href, ["red", "green", "blue", "nir"], "uint8")}
        # the originals have no time of day
        acquired = datetime.fromisoformat(f"{date}T16:00:00+00:00")
        properties = {"platform": "aircraft", "gsd": 5.0, "eo:cloud_cover": 0.0}
        yield stac_item(
            source.stem, "naip-cottonwood", acquired, crs, transform, bands.shape[1:], assets, properties
        )


def main() -> None:
    """Build both collections."""
    parser = argparse.ArgumentParser(description="Make the demo's imagery and STAC items.")
    parser.add_argument("originals", type=Path, help="folder with sentinel2-slovenia and naip-cottonwood")
    parser.add_argument("--demo", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    imagery, stac = arguments.demo / "imagery", arguments.demo / "stac"
    forest = list(slovenia(arguments.originals / "sentinel2-slovenia", imagery))
    write_catalog(
        stac,
        stac_collection(
            "sentinel-2-l1c-slovenia",
            "Sentinel-2 L1C, Slovenia, 2015",
            "Forest with clearings, fields and a road; five dates, of which two are cloudy.",
            forest,
            licence="other",
            providers=["European Union / ESA / Copernicus", "eo-learn (MIT)"],
        ),
        forest,
    )
    lakes = list(cottonwood(arguments.originals / "naip-cottonwood", imagery))
    write_catalog(
        stac,
        stac_collection(
            "naip-cottonwood",
            "NAIP, Cottonwood Lake area, North Dakota",
            "Growing prairie lakes from 2009 to 2017, four dates, resampled to 5 m.",
            lakes,
            licence="other",
            providers=["USDA Farm Service Agency", "opengeos/data (MIT)"],
        ),
        lakes,
    )


if __name__ == "__main__":
    main()
