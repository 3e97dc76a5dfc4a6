"""Latency from a new item in the STAC API to the signed webhook: real services, a warm worker, the shipped model.

A lake grows and shrinks from scene to scene. Each item is added to a running STAC API after the one before is done; the
clock starts when it can be found. Discovery starts at once, so the schedule's interval is not part of the latency.
"""

from __future__ import annotations

import json
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods
from rich.console import Console
from rich.table import Table
from shapely.geometry import box, mapping
from sqlalchemy import Engine, text

from segwatch.db import watches
from segwatch.db.engine import make_engine
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.inference import segmenters
from segwatch.flows.inference.drain import Drain
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.flows.services.stack import Stack
from segwatch.geo.crs import choose_utm, to_lonlat
from segwatch.geo.types.source import BandRef, Profile
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule, Instruction, TrackingSettings, Watch

_COLLECTION = "bench"
_SIDE = 512
_GSD_M = 5.0
_WEST, _SOUTH = 500_000.0, 5_100_000.0
_BEGAN = datetime(2024, 1, 1, 10, tzinfo=UTC)
_STAGES = ("discover", "segment", "track", "deliver")

out = Console(width=110, highlight=False)


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure median and 95th percentile of the time from item to webhook and of its stages, seconds."""
    scenes = 6 if quick else 50
    # hide the log lines about scenes without a change
    logging.getLogger("segwatch").setLevel(logging.ERROR)
    with run_services(device) as (stack, engine, settings):
        took, without = _watch_scenes(stack, engine, settings, scenes)
    totals = [sum(one.values()) for one in took]
    table = Table("stage", "median", "95 %", title=f"item to webhook, {len(took)} scenes")
    figures: dict[str, float | int] = {"latency_scenes": len(took), "latency_scenes_without_alert": without}
    for name, values in [("total", totals), *((stage, [one[stage] for one in took]) for stage in _STAGES)]:
        median, most = statistics.median(values), _percentile(values, 0.95)
        table.add_row(name, f"{median:.3f} s", f"{most:.3f} s")
        figures |= {
            f"latency_{name}_median_seconds": round(median, 4),
            f"latency_{name}_p95_seconds": round(most, 4),
        }
    out.print(table)
    return figures


def _watch_scenes(
    stack: Stack, engine: Engine, settings: FlowSettings, wanted: int
) -> tuple[list[dict[str, float]], int]:
    """Return seconds by stage of each scene that alerted, and how many scenes did not."""
    segmenter = segmenters.load_segmenter(settings)
    received = f"{stack.urls().receiver}/received"
    took: list[dict[str, float]] = []
    without = 0
    with PgstacDB(dsn=stack.cluster.info().superuser_url("stac")) as database:
        loader = Loader(database)
        # the first scene is the baseline, the second warms caches
        for number in range(2 * wanted + 2):
            before = len(httpx.get(received).json())
            loader.load_items(iter([make_item(stack, number)]), Methods.upsert)
            marks = [time.perf_counter()]
            discover_watch(engine, "bench", model_version=segmenter.version)
            marks.append(time.perf_counter())
            Drain(engine, segmenter, settings, watch="bench").run()
            marks.append(time.perf_counter())
            track_ready(engine)
            marks.append(time.perf_counter())
            deliver_outbox(engine, settings)
            marks.append(time.perf_counter())
            if number < 2:
                continue
            if len(httpx.get(received).json()) == before:
                without += 1
                continue
            stages = (later - earlier for earlier, later in pairwise(marks))
            took.append(dict(zip(_STAGES, stages, strict=True)))
            if len(took) == wanted:
                return took, without
    _explain(engine)
    raise RuntimeError(f"only {len(took)} of {wanted} scenes alerted")


def _explain(engine: Engine) -> None:
    query = "SELECT state, reason, clear_share, detections FROM watch.coverage ORDER BY acquired_at LIMIT 10"
    with engine.connect() as conn:
        for row in conn.execute(text(query)):
            out.print(row)


@contextmanager
def run_services(device: str) -> Iterator[tuple[Stack, Engine, FlowSettings]]:
    """Run PostGIS, a STAC API, a server of imagery and a webhook receiver, with the watch ``bench`` and no item."""
    home = Path(tempfile.mkdtemp(prefix="segwatch-bench-", dir="/tmp"))
    home.chmod(0o755)
    stack = Stack(home, say=lambda _: None)
    try:
        imagery, stac = home / "imagery", home / "stac"
        _write_pictures(imagery)
        _write_collection(stac)
        stack.up_database()
        stack.up_catalog(imagery, stac)
        stack.up_receiver()
        given = stack.environment()
        settings = load_settings(
            home=home,
            device=device,
            linger_seconds=0.0,
            webhook_secret=given["SEGWATCH_WEBHOOK_SECRET"],
            allowed_addresses=tuple(json.loads(given["SEGWATCH_ALLOWED_ADDRESSES"])),
            imagery_hosts=tuple(json.loads(given["SEGWATCH_IMAGERY_HOSTS"])),
        )
        engine = make_engine(stack.cluster.info().url_for("segwatch_worker"))
        with engine.begin() as conn:
            watches.apply(conn, _watch(stack))
        yield stack, engine, settings
        engine.dispose()
    finally:
        stack.down()
        stack.cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


def compute_extent() -> Any:
    """Return the extent of the images in EPSG:4326."""
    crs = choose_utm(box(15.0, 46.0, 15.1, 46.1))
    return to_lonlat(box(_WEST, _SOUTH, _WEST + _SIDE * _GSD_M, _SOUTH + _SIDE * _GSD_M), crs)


def _watch(stack: Stack) -> Watch:
    west, south, east, north = compute_extent().bounds
    inset = 0.002
    red, green, blue = (BandRef("visual", band) for band in (1, 2, 3))
    profile = Profile(
        "bench", "Bench", _COLLECTION, red, green, blue, low=0, high=255, gsd_m=_GSD_M, hosts=("127.0.0.1:*",)
    )
    rule = AlertRule("any", tuple(ChangeKind), channels=(f"{stack.urls().receiver}/alerts",))
    return Watch(
        "bench", Instruction("segment the water", ("water",)),
        box(west + inset, south + inset, east - inset, north - inset), profile, stack.urls().stac, _BEGAN,
        tracking=TrackingSettings(gone_after=1, min_change_m2=2000.0), rules=(rule,),
    )  # fmt: skip


def _write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    crs = choose_utm(box(15.0, 46.0, 15.1, 46.1))
    transform = Affine(_GSD_M, 0, _WEST, 0, -_GSD_M, _SOUTH + _SIDE * _GSD_M)
    shape = {"count": 3, "height": _SIDE, "width": _SIDE, "dtype": "uint8"}
    for parity, radius in enumerate((60, 110)):
        with rasterio.open(
            folder / f"{parity}.tif", "w", driver="COG", crs=crs.to_wkt(), transform=transform, **shape
        ) as file:
            file.write(_picture(radius))


def _picture(radius: int) -> NDArray[np.uint8]:
    """Make an image (3, H, W) RGB: a lake in a meadow."""
    rng = np.random.default_rng(radius)
    row, column = np.mgrid[:_SIDE, :_SIDE]
    lake = (row - _SIDE / 2) ** 2 + (column - _SIDE / 2) ** 2 < radius**2
    colours = np.where(lake, np.array([[[35]], [[70]], [[120]]]), np.array([[[70]], [[110]], [[50]]]))
    noisy = colours + rng.normal(0, 6, (3, _SIDE, _SIDE))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _write_collection(folder: Path) -> None:
    document = {
        "type": "Collection", "stac_version": "1.0.0", "id": _COLLECTION, "description": "A lake", "license": "CC0-1.0",
        "links": [], "extent": {"spatial": {"bbox": [list(compute_extent().bounds)]},
                                "temporal": {"interval": [[_BEGAN.isoformat(), None]]}},
    }  # fmt: skip
    (folder / _COLLECTION).mkdir(parents=True)
    (folder / _COLLECTION / "collection.json").write_text(json.dumps(document))


def make_item(stack: Stack, number: int) -> dict[str, Any]:
    """Make the STAC item of a scene; even numbers show a small lake, odd ones a large one."""
    at = (_BEGAN + timedelta(days=number)).isoformat().replace("+00:00", "Z")
    ground = compute_extent()
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": f"bench-{number:03d}",
        "collection": _COLLECTION, "geometry": mapping(ground), "bbox": list(ground.bounds), "links": [],
        "properties": {"datetime": at, "updated": at, "platform": "bench"},
        "assets": {"visual": {"href": f"{stack.urls().imagery}/{number % 2}.tif", "roles": ["visual"],
                              "type": "image/tiff; application=geotiff; profile=cloud-optimized"}},
    }  # fmt: skip


def _percentile(values: list[float], share: float) -> float:
    return float(np.quantile(np.array(values), share))
