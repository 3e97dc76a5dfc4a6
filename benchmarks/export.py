"""Exports of a large watch: rows per second and peak memory by format, a delta feed, and pages and tiles over HTTP."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from uuid import UUID

import httpx
from morecantile import tms
from rich.console import Console
from shapely.geometry import box
from sqlalchemy import Engine

from segwatch.benchmarks import tracking_scale
from segwatch.benchmarks.memory import forget_peak, read_peak_mib
from segwatch.benchmarks.tracking_scale import World
from segwatch.db.analyst.cursors import write_cursor
from segwatch.db.embedded.ports import find_free_port
from segwatch.flows.export.tables import Request, TableFormat, export_table
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.flows.web.application import create_app
from segwatch.flows.web.guards.connections import make_server

_WATCH = "forest-fires"
_PAGE = 100
_ZOOMS = (10, 12, 14)
#: PMTiles are cut for thirteen zooms, which takes far longer than any other format: of a part of this many objects.
_MOST_TILED = 50_000

out = Console(width=110, highlight=False)


@dataclass(frozen=True)
class Size:
    """Size of one run."""

    side: int
    """Objects along the side of a block, see :class:`segwatch.benchmarks.tracking_scale.World`."""
    objects: int
    requests: int
    """Pages, and tiles, that are asked for."""


FULL, QUICK = Size(100, 1_000_000, 100), Size(30, 9_000, 5)


@dataclass(frozen=True)
class Written:
    """Cost of one export."""

    rows: int
    seconds: float
    peak_mib: float
    bytes: int


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure exports, a delta feed after one scene, and what the web server sends; ``device`` does not matter."""
    del device
    size = QUICK if quick else FULL
    with tracking_scale.throwaway_cluster() as cluster, tempfile.TemporaryDirectory() as folder:
        world = World(cluster, size.side)
        world.grow(size.objects)
        figures: dict[str, float | int] = {"export_objects": size.objects}
        figures |= _measure_formats(world, size, Path(folder))
        figures |= _measure_feed(world, Path(folder))
        with _serve(cluster.info().url_for("segwatch_analyst")) as address:
            figures |= _measure_http(address, size, world.area.bounds)
        world.engine.dispose()
        world.analyst.dispose()
    return figures


def _measure_formats(world: World, size: Size, folder: Path) -> dict[str, float | int]:
    figures: dict[str, float | int] = {}
    forget_peak()
    base = read_peak_mib()
    for form in TableFormat:
        bounds = _find_part(world, size) if form is TableFormat.PMTILES else None
        done = _export(
            world.engine, Request(_WATCH, bounds=bounds), form, folder / f"objects{form.extension}"
        )
        figures[f"export_rows_per_second_{form}"] = round(done.rows / done.seconds)
        figures[f"export_peak_mib_{form}"] = round(done.peak_mib)
        out.print(
            f"{form}: {done.rows:,} objects in {done.seconds:.1f} s, {done.rows / done.seconds:,.0f} a second, "
            f"peak memory {done.peak_mib:.0f} MiB, file {done.bytes / 2**20:.1f} MiB"
        )
    return figures | {"export_base_mib": round(base)}


def _find_part(world: World, size: Size) -> tuple[float, float, float, float]:
    """Find the south-western part of the AOI that holds at most about :data:`_MOST_TILED` objects."""
    west, south, east, north = world.area.bounds
    share = min(1.0, _MOST_TILED / size.objects) ** 0.5
    return west, south, west + share * (east - west), south + share * (north - south)


def _export(engine: Engine, request: Request, form: TableFormat, target: Path) -> Written:
    forget_peak()
    begun = time.perf_counter()
    done = export_table(engine, request, form, target, force=True)
    return Written(done.rows, time.perf_counter() - begun, read_peak_mib(), target.stat().st_size)


def _measure_feed(world: World, folder: Path) -> dict[str, float | int]:
    """Measure a delta feed after one more scene: its cost must follow the scene, not the watch."""
    target = folder / "feed.parquet"
    whole = export_table(world.engine, Request(_WATCH), TableFormat.GEOPARQUET, target)
    width = world.side * tracking_scale.STEP_LON
    height = world.side * tracking_scale.STEP_LAT
    west, south, *_ = world.area.bounds
    block = box(west, south, west + width, south + height)
    found = tracking_scale.block_detections(world.side, seed=1)
    world.store_prediction(block, found, tracking_scale.NOW + timedelta(days=1))
    assert track_ready(world.engine).observations == 1
    done = _export(world.engine, Request(_WATCH, since=whole.next_token), TableFormat.GEOPARQUET, target)
    out.print(
        f"delta feed after a scene of {len(found)} detections: {done.rows} objects in {done.seconds:.2f} s"
    )
    return {"feed_rows": done.rows, "feed_seconds": round(done.seconds, 3)}


@contextmanager
def _serve(database_url: str) -> Iterator[str]:
    port = find_free_port()
    server = make_server(create_app(database_url), host="127.0.0.1", port=port)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def _measure_http(
    address: str, size: Size, bounds: tuple[float, float, float, float]
) -> dict[str, float | int]:
    chosen = random.Random(1)  # noqa: S311 - a choice of places
    items = f"{address}/ogc/collections/watch.objects_now/items"
    page = {"watch": _WATCH, "limit": str(_PAGE)}
    with httpx.Client(timeout=60) as client:
        first = _time(client, size, lambda: (items, page))
        deep = _time(
            client, size,
            lambda: (items, page | {"offset": str(chosen.randrange(size.objects - _PAGE))}),
        )  # fmt: skip
        past = {"watch": _WATCH, "at": tracking_scale.NOW.isoformat(), "limit": str(_PAGE)}
        objects = _time(client, size, lambda: (f"{address}/api/objects", past))
        deep_objects = _time(
            client, size,
            lambda: (f"{address}/api/objects", past | {"after": _choose_place(chosen)}),
        )  # fmt: skip
        tiles = _time(client, size, lambda: _choose_tile(address, bounds, chosen))
    figures = {
        "api_page_p95_ms": first, "api_deep_page_p95_ms": deep, "api_objects_p95_ms": objects,
        "api_deep_objects_p95_ms": deep_objects, "api_tile_p95_ms": tiles,
    }  # fmt: skip
    out.print("p95: " + ", ".join(f"{name} {value:.0f} ms" for name, value in figures.items()))
    return {name: round(value, 1) for name, value in figures.items()}


def _choose_place(chosen: random.Random) -> str:
    """Choose where a page of the objects of a time begins, anywhere in their order."""
    return write_cursor(datetime.now(UTC), UUID(int=chosen.getrandbits(128)))


def _choose_tile(
    address: str, bounds: tuple[float, float, float, float], chosen: random.Random
) -> tuple[str, dict[str, str]]:
    west, south, east, north = bounds
    lon, lat = chosen.uniform(west, east), chosen.uniform(south, north)
    tile = tms.get("WebMercatorQuad").tile(lon, lat, chosen.choice(_ZOOMS))
    at = tracking_scale.NOW.isoformat()
    return f"{address}/api/tiles/{tile.z}/{tile.x}/{tile.y}.mvt", {"watch": _WATCH, "at": at}


def _time(client: httpx.Client, size: Size, choose: Callable[[], tuple[str, dict[str, str]]]) -> float:
    """Return the 95th percentile of the time of a response, milliseconds."""
    took = []
    for _ in range(size.requests):
        url, parameters = choose()
        begun = time.perf_counter()
        client.get(url, params=parameters).raise_for_status()
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.quantiles(took, n=20)[-1]
