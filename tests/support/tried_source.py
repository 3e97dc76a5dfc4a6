"""A real catalog over HTTP for trials: three scenes of one place, the newest under cloud, and a watch that uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from shapely.geometry import box, mapping

from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.sources import profiles
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.colour_segmenter import Well
from tests.support.images import GRID, textured
from tests.support.serving import serving, serving_files

#: The segmenter that answers well in these scenes.
WELL = f"{Well.__module__}:{Well.__name__}"
AREA = to_lonlat(box(*GRID.boundingbox).buffer(-20), get_crs(GRID))
#: Acquisition and cloud cover of each scene.
SCENES = (("2024-05-01", 0), ("2024-06-01", 5), ("2024-06-11", 90))


@contextmanager
def serving_source() -> Iterator[Watch]:
    """Serve the catalog and its imagery; yields a watch that uses it and that nobody stored."""
    with serving_files({f"/{day}.tif": textured(10, 20, 30) for day, _ in SCENES}) as files:
        items = [_make_item(day, cover, f"{files.url}/{day}.tif") for day, cover in SCENES]
        found = json.dumps({"type": "FeatureCollection", "features": items}).encode()
        with serving({"/": (200, {"Content-Type": "application/geo+json"}, found)}) as catalog:
            yield Watch(
                "lakes",
                Instruction("segment the water", ("water",)),
                AREA,
                profiles.load("rgb-cog"),
                f"{catalog}/",
                datetime(2024, 1, 1, tzinfo=UTC),
            )


def _make_item(day: str, cover: int, href: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": day,
        "collection": "visual",
        "geometry": mapping(box(*AREA.buffer(0.001).bounds)),
        "bbox": list(AREA.buffer(0.001).bounds),
        "properties": {"datetime": f"{day}T10:00:00Z", "platform": "made-1", "eo:cloud_cover": cover},
        "assets": {"visual": {"href": href, "type": "image/tiff; application=geotiff"}},
        "links": [],
    }
