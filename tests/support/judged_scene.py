"""A scene whose objects people judged: squares in the middle of tiles, some of them rejected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
from affine import Affine
from pyproj import CRS
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine, text

from segwatch.db import observations, reviews, scenes, watches
from segwatch.db.reviews import Verdict
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.crs import to_crs, to_lonlat
from segwatch.geo.sources import profiles
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.colour_segmenter import ColourSegmenter
from tests.support.images import tiff
from tests.support.serving import serving_files

TILE = 256
ROWS, COLUMNS = 2, 4
#: On the lattice of tiles, so that each square lies in a tile of its own.
_CORNER = Affine(10, 0, 195 * TILE * 10, 0, -10, 1992 * TILE * 10)
_CRS = CRS.from_epsg(32633)
_COLOUR = (160, 40, 160)
_NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
_SIDE = 100
#: Tiles whose squares are rejected.
REJECTED = ((0, 1), (1, 0), (1, 3))


class Squares(ColourSegmenter):
    """Finds the squares."""

    version = "squares@1"
    colour = _COLOUR


def make_picture() -> bytes:
    """A GeoTIFF of green ground with a square in the middle of each tile; those to be rejected are striped."""
    noise = np.random.default_rng(7).integers(0, 15, (3, ROWS * TILE, COLUMNS * TILE))
    bands = np.array([70, 110, 50])[:, None, None] + noise
    for row in range(ROWS):
        for column in range(COLUMNS):
            top, left = row * TILE + (TILE - _SIDE) // 2, column * TILE + (TILE - _SIDE) // 2
            part = bands[:, top : top + _SIDE, left : left + _SIDE]
            part[:] = np.array(_COLOUR)[:, None, None] + noise[:, :_SIDE, :_SIDE] // 3
            if (row, column) in REJECTED:
                part[:, :, ::2] -= 12
    return tiff(bands.astype("uint8"), crs="EPSG:32633", transform=_CORNER)


@contextmanager
def serving_picture() -> Iterator[str]:
    """Serve the picture; yields the server's URL."""
    with serving_files({"/a.tif": make_picture()}) as server:
        yield server.url


def shrink(area: BaseGeometry) -> BaseGeometry:
    """Return a part of the area around its first square."""
    west, _, _, north = to_crs(area, _CRS).bounds
    return to_lonlat(box(west, north - 200 * 10, west + 200 * 10, north), _CRS)


def make_judged_ledger(engine: Engine, settings: FlowSettings, url: str, days: int = 1) -> Watch:
    """Observe the scene on so many days, and judge every square of the first one."""
    west, north = _CORNER.c, _CORNER.f
    ground = box(west, north - ROWS * TILE * 10, west + COLUMNS * TILE * 10, north).buffer(-20)
    area = to_lonlat(ground, _CRS)
    found = []
    for day in range(1, 1 + days):
        at = _NOW.replace(day=day)
        item = Item(f"item-{day}", "visual", url, at, None, "made", "1", "", area, {"visual": f"{url}/a.tif"})
        found.append(Scene("visual", "made", "1", at.date(), at, (item,), area))
    instruction = Instruction("segment the water", ("water",))
    watch = Watch("lakes", instruction, area, profiles.load("rgb-cog"), url, _NOW)
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
        observations.enqueue(conn, revision, Squares.version, scenes.upsert(conn, found))
    Drain(engine, Squares(), settings).run()
    track_ready(engine)
    _judge(engine)
    return watch


def _judge(engine: Engine) -> None:
    query = text(
        "SELECT track_id, ST_X(c) AS x, ST_Y(c) AS y FROM (SELECT track_id, ST_Transform(ST_Centroid(geom), 32633) AS c"
        " FROM watch.objects_now) o"
    )
    with engine.begin() as conn:
        for one in conn.execute(query).all():
            place = int((_CORNER.f - one.y) / 10) // TILE, int((one.x - _CORNER.c) / 10) // TILE
            verdict = Verdict.REJECTED if place in REJECTED else Verdict.CONFIRMED
            reviews.decide(conn, one.track_id, verdict, reviewer="ada", reason="seen in the picture")
