"""A stored picture of the ground lies under a map where it belongs, whatever the projection of its scene."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import rasterio
import shapely
from affine import Affine
from pyproj import CRS
from shapely.geometry import Point, box

from segwatch.flows.report.frame import fit_frame
from segwatch.flows.report.imagery import Background, fit_background
from segwatch.flows.runtime import ground_pictures
from segwatch.flows.runtime.ground_pictures import GroundPicture
from segwatch.geo.crs import to_crs, to_lonlat

UTM = CRS.from_epsg(32633)


def test_a_field_of_the_picture_is_on_its_place_of_the_map() -> None:
    rgb = np.full((3, 200, 300), 90, np.uint8)
    rgb[:, 60:80, 200:220] = 255
    transform = Affine(10, 0, 500_000, 0, -10, 5_100_000)
    given = GroundPicture(rgb, UTM, transform)
    read = ground_pictures.decode(ground_pictures.encode(given))
    assert read is not None
    assert (read.crs, read.transform) == (UTM, transform)
    area = to_lonlat(box(500_500, 5_098_500, 502_900, 5_099_900), UTM)
    frame = fit_frame(area, 90, 80)
    jpeg = fit_background(Background(read, datetime(2024, 1, 1, tzinfo=UTC)), frame)
    with rasterio.MemoryFile(jpeg) as memory, memory.open() as file:
        shown = file.read(1)
    field = to_lonlat(Point(*(transform * (210, 70))), UTM)
    x, y = shapely.get_coordinates(shapely.transform(to_crs(field, frame.crs), frame.to_page))[0]
    scale = shown.shape[1] / frame.width
    assert shown[round(y * scale), round(x * scale)] > 240
    assert shown[round(y * scale) + 40, round(x * scale)] < 120
    assert ground_pictures.decode(b"no picture") is None
