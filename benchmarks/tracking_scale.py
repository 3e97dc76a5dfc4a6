"""Publish one scene over a growing history: the cost must follow the scene, not the history.

A real PostGIS holds a grid of burned patches, in blocks of one scene each. One block is observed again at every size of
the history, so the work stays the same and only the table grows. For comparison, geopandas overlays the same detections
with the whole layer, as a script without a ledger would.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas
import numpy as np
import psycopg
import shapely
from rich.console import Console
from rich.table import Table
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine, text

from segwatch.benchmarks.memory import forget_peak, read_peak_mib
from segwatch.db import ledger, observations, scenes, watches
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.migrate import upgrade
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.area import compute_area_m2
from segwatch.geo.types.belief import MAX_PAST
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import BandRef, Profile
from segwatch.geo.types.tracking import ChangeKind, Detection, ObservationResult
from segwatch.geo.types.watch import AlertRule, Instruction, TrackingSettings, Watch

MODEL = "bench@0"
WEST, SOUTH, STEP_LON, STEP_LAT = 15.0, 46.0, 0.0026, 0.0018  # 200 m each way
_BLOCKS = 10  # blocks a side of the largest history
_WEEKS = 100
_BEGAN = datetime(2024, 1, 1, 10, tzinfo=UTC)
NOW = _BEGAN + timedelta(weeks=_WEEKS)
_RADIUS_M = 60.0
_METRES_PER_DEGREE = 111_320.0

out = Console(width=110, highlight=False)


@dataclass(frozen=True)
class Size:
    """Size of one run."""

    side: int
    """Objects along the side of a block; a scene shows side x side objects."""
    histories: tuple[int, ...]
    """Number of tracks in the history, growing."""
    late_objects_side: int
    late_scenes: int
    late_back: int


FULL = Size(100, (10_000, 100_000, 1_000_000), 20, 200, 100)
QUICK = Size(30, (900, 9_000), 8, 20, 10)


@dataclass(frozen=True)
class Cost:
    """Cost of publishing one scene."""

    tracks: int
    seconds: float
    rows: int
    """Rows inserted or updated."""
    peak_mib: float
    """Peak resident memory of this process meanwhile, MiB."""
    overlay_seconds: float
    """Time to read the whole layer and overlay it with the same detections."""


class World:
    """A ledger in a throwaway database."""

    def __init__(self, cluster: Cluster, side: int) -> None:
        info = cluster.up()
        upgrade(info.url_for("segwatch_owner"))
        self.engine = make_engine(info.url_for("segwatch_worker"))
        self.analyst = make_engine(info.url_for("segwatch_analyst"))
        self.superuser_url = info.superuser_url()
        self.side = side
        self.scenes = 0
        self.tracks = 0
        width, height = _BLOCKS * side * STEP_LON, _BLOCKS * side * STEP_LAT
        self.area = box(WEST, SOUTH, WEST + width, SOUTH + height)
        with self.engine.begin() as conn:
            self.watch_id = watches.apply(conn, make_watch(self.area)).revision_id
        self.series_id = self._first_scenes()

    def grow(self, tracks: int) -> None:
        """Add objects block by block up to a number of tracks; a third of them grew once."""
        values = {
            "series": self.series_id, "first": self.tracks, "last": tracks - 1, "side": self.side, "blocks": _BLOCKS,
            "per_block": self.side**2, "west": WEST, "south": SOUTH, "lon": STEP_LON, "lat": STEP_LAT,
            "radius": _RADIUS_M / _METRES_PER_DEGREE, "weeks": _WEEKS, "past": MAX_PAST,
        }  # fmt: skip
        with psycopg.connect(self.superuser_url, autocommit=True) as conn:
            for statement in _GROW:
                conn.execute(statement.encode(), values)
            conn.execute("VACUUM ANALYZE")
            conn.execute(
                "CHECKPOINT"
            )  # flush the history's pages now, so that they do not count for the scene
        self.tracks = tracks

    def store_prediction(self, block: BaseGeometry, detections: Sequence[Detection], at: datetime) -> None:
        """Store the prediction of a further scene over the block, ready to be tracked."""
        self.scenes += 1
        with self.engine.begin() as conn:
            ids = scenes.upsert(conn, [make_scene(at, block)])
            observations.enqueue(conn, self.watch_id, MODEL, ids)
            leased = ledger.lease(
                conn, worker="w", seconds=600, model_version=MODEL, watch=None, max_attempts=3
            )
            assert leased is not None
            result = ObservationResult(block, tuple(detections), "", 1, 0, 1.0, 0, 0.0)
            ledger.save(conn, leased.observations[0].id, "w", result, {})

    def rows_written(self) -> int:
        """Return the number of rows inserted or updated in this database so far."""
        self.engine.dispose()  # a connection reports its counts when it closes
        with psycopg.connect(self.superuser_url, autocommit=True) as conn:
            conn.execute("SELECT pg_stat_force_next_flush()")
            (count,) = conn.execute(_WRITTEN).fetchone() or (0,)
        return int(count)

    def _first_scenes(self) -> str:
        made = [make_scene(_BEGAN + timedelta(weeks=week), self.area) for week in range(_WEEKS)]
        with self.engine.begin() as conn:
            observations.enqueue(conn, self.watch_id, MODEL, scenes.upsert(conn, made))
        with psycopg.connect(self.superuser_url, autocommit=True) as conn:
            conn.execute(
                "UPDATE segwatch.observation SET state = 'observed', committed_at = acquired_at + interval '1 hour',"
                " footprint = ST_GeomFromWKB(%s, 4326)",
                (self.area.wkb,),
            )
            (series,) = conn.execute("SELECT id FROM segwatch.series").fetchone() or ("",)
        return str(series)


_WRITTEN = """
    SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables WHERE schemaname = 'segwatch'
"""
_RANKED = """
    CREATE TEMPORARY TABLE ranked AS
    SELECT id, acquired_at, row_number() OVER (ORDER BY acquired_at) - 1 AS week FROM segwatch.observation
    WHERE series_id = %(series)s ORDER BY acquired_at LIMIT %(weeks)s
"""
# object i lies in block i / per_block; it was first detected in one of the first weeks, and one in three grew
# later
_PLACED = """
    CREATE TEMPORARY TABLE placed AS
    SELECT p.grew, p.track_id, p.seen, p.later, p.observation_id, p.later_id,
           ST_Buffer(p.point, %(radius)s, 5) AS geom,
           ST_Buffer(p.point, CASE WHEN p.grew THEN 0.7 ELSE 1 END * %(radius)s, 5) AS first_geom
    FROM (
        SELECT n.grew, uuid_in(md5('track' || n.i)::cstring) AS track_id, o.id AS observation_id,
               o.acquired_at AS seen, l.id AS later_id, l.acquired_at AS later,
               ST_SetSRID(ST_MakePoint(
                   %(west)s + ((n.block %% %(blocks)s) * %(side)s + n.place %% %(side)s + 0.5) * %(lon)s,
                   %(south)s + ((n.block / %(blocks)s) * %(side)s + n.place / %(side)s + 0.5) * %(lat)s),
                   4326) AS point
        FROM (
            SELECT i, i %% 3 = 0 AS grew, i / %(per_block)s AS block, i %% %(per_block)s AS place
            FROM generate_series(%(first)s::bigint, %(last)s::bigint) i) n
        JOIN ranked o ON o.week = n.i %% (%(weeks)s / 2)
        LEFT JOIN ranked l ON n.grew AND l.week = %(weeks)s / 2 + n.i / 3 %% (%(weeks)s / 2)) p
"""
_TRACKS = """
    INSERT INTO segwatch.track (id, series_id, target, created_at, object_id)
    SELECT track_id, %(series)s, 'burned', seen, track_id FROM placed
"""
_STATES = """
    INSERT INTO segwatch.track_state (id, track_id, observation_id, valid, recorded, geom, area_m2, score, first_seen,
        last_seen, last_looked, misses, visible_share, alive, change, confidence, status, observations_for,
        observations_against)
    SELECT gen_random_uuid(), track_id, observation_id, tstzrange(seen, NULL),
           tstzrange(seen + interval '1 hour', CASE WHEN grew THEN later + interval '1 hour' END), first_geom,
           ST_Area(first_geom::geography), 0.9, seen, seen, seen, 0, 1.0, true, 'appeared',
           0.9, 'confirmed', 3, 0
    FROM placed
    UNION ALL
    SELECT gen_random_uuid(), track_id, observation_id, tstzrange(seen, later),
           tstzrange(later + interval '1 hour', NULL), first_geom, ST_Area(first_geom::geography), 0.9, seen, seen,
           seen, 0, 1.0, true, 'appeared', 0.9, 'confirmed', 3, 0
    FROM placed WHERE grew
    UNION ALL
    SELECT gen_random_uuid(), track_id, later_id, tstzrange(later, NULL),
           tstzrange(later + interval '1 hour', NULL), geom, ST_Area(geom::geography), 0.9, seen, later, later, 0,
           1.0, true, 'grew', 0.7, 'provisional', 1, 0
    FROM placed WHERE grew
"""
_CHANGES = """
    INSERT INTO segwatch.change (id, track_id, observation_id, kind, target, valid_at, recorded_at, before_m2,
        after_m2, gained, geom, score, baseline)
    SELECT gen_random_uuid(), track_id, observation_id, 'appeared', 'burned', seen, seen + interval '1 hour', 0,
           ST_Area(first_geom::geography), first_geom, first_geom, 0.9, false FROM placed
    UNION ALL
    SELECT gen_random_uuid(), track_id, later_id, 'grew', 'burned', later, later + interval '1 hour',
           ST_Area(first_geom::geography), ST_Area(geom::geography), geom, geom, 0.9, false FROM placed WHERE grew
"""
# the last observations detected every object: new changes are judged by them
_DETECTIONS = """
    INSERT INTO segwatch.detection (id, observation_id, ordinal, target, geom, score, area_m2, track_id)
    SELECT gen_random_uuid(), o.id, %(first)s + row_number() OVER (PARTITION BY o.id), 'burned', p.geom, 0.9,
           ST_Area(p.geom::geography), p.track_id
    FROM ranked o CROSS JOIN placed p WHERE o.week >= %(weeks)s - %(past)s
"""
_GROW = (_RANKED, _PLACED, _TRACKS, _STATES, _CHANGES, _DETECTIONS)


def run(*, quick: bool) -> dict[str, float | int]:
    """Measure costs by size of history, and a late scene."""
    size = QUICK if quick else FULL
    figures: dict[str, float | int] = {}
    with throwaway_cluster() as cluster:
        world = World(cluster, size.side)
        costs: list[Cost] = []
        for tracks in size.histories:
            world.grow(tracks)
            costs.append(_measure(world, len(costs)))
        _print_costs(costs)
        first, last = costs[0], costs[-1]
        figures |= {
            "scene_detections": size.side**2,
            "history_tracks_least": first.tracks,
            "history_tracks_most": last.tracks,
            "scene_seconds_least_history": round(first.seconds, 3),
            "scene_seconds_most_history": round(last.seconds, 3),
            "cost_most_over_least_history": round(last.seconds / first.seconds, 3),
            "scene_rows_least_history": first.rows,
            "scene_rows_most_history": last.rows,
            "scene_peak_mib_most_history": round(last.peak_mib),
            "overlay_over_ours_most_history": round(last.overlay_seconds / last.seconds, 2),
        }
        world.engine.dispose()
        world.analyst.dispose()
    with throwaway_cluster() as cluster:
        figures |= _late(World(cluster, size.late_objects_side), size)
    return figures


def _measure(world: World, turn: int) -> Cost:
    block = box(WEST, SOUTH, WEST + world.side * STEP_LON, SOUTH + world.side * STEP_LAT)
    seconds = []
    for repeat in range(3):
        number = 3 * turn + repeat
        found = block_detections(world.side, seed=number)
        world.store_prediction(block, found, NOW + timedelta(days=number))
        before = world.rows_written()
        forget_peak()
        begun = time.perf_counter()
        tracked = track_ready(world.engine)
        seconds.append(time.perf_counter() - begun)
        assert tracked.observations == 1
        peak, rows = read_peak_mib(), world.rows_written() - before
    # leave out the first repetition: it finds the block as the turn before left it, at the smallest history
    # never observed
    begun = time.perf_counter()
    _overlay(world.engine, found)
    overlay = time.perf_counter() - begun
    return Cost(world.tracks, min(seconds[1:]), rows, peak, overlay)


def block_detections(side: int, seed: int) -> list[Detection]:
    """Simulate the detections of the first block: 90 % as before with a pixel's noise, some larger, some gone."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(side**2), side)
    noise = rng.normal(0.0, 3.0 / _METRES_PER_DEGREE, (2, side**2))
    points = shapely.points(
        WEST + (column + 0.5) * STEP_LON + noise[0], SOUTH + (row + 0.5) * STEP_LAT + noise[1]
    )
    fate = rng.random(side**2)
    radius = np.where(fate < 0.05, 1.4, 1.0) * _RADIUS_M / _METRES_PER_DEGREE
    shapes = shapely.buffer(points, radius, quad_segs=5)[fate < 0.95]
    return [Detection("burned", shape, 0.9, compute_area_m2(shape)) for shape in shapes]


def _overlay(engine: Engine, found: Sequence[Detection]) -> None:
    """Read the whole layer and overlay it: kept, gained and lost parts."""
    layer = geopandas.read_postgis(
        text(
            "SELECT track_id, geom FROM segwatch.track_state WHERE upper_inf(valid) AND upper_inf(recorded)"
        ),
        engine,
        geom_col="geom",
    )
    new = geopandas.GeoDataFrame(
        {"ordinal": range(len(found))}, geometry=[one.geometry for one in found], crs=4326
    )
    geopandas.overlay(layer, new, how="union", keep_geom_type=True)


def _late(world: World, size: Size) -> dict[str, float | int]:
    """Track a long series without one of its scenes, which then arrives."""
    block = box(WEST, SOUTH, WEST + world.side * STEP_LON, SOUTH + world.side * STEP_LAT)
    missing = size.late_scenes - size.late_back
    begun = time.perf_counter()
    for number in range(size.late_scenes):
        if number != missing:
            world.store_prediction(block, block_detections(world.side, number), NOW + timedelta(days=number))
            track_ready(world.engine)
    usual = (time.perf_counter() - begun) / (size.late_scenes - 1)
    world.store_prediction(block, block_detections(world.side, missing), NOW + timedelta(days=missing))
    before = world.rows_written()
    begun = time.perf_counter()
    track_ready(world.engine)
    seconds = time.perf_counter() - begun
    rows = world.rows_written() - before
    out.print(
        f"late scene, {size.late_back} scenes back in {size.late_scenes}, {world.side**2} objects: {seconds:.2f} s, "
        f"{rows} rows; a scene in its turn: {usual:.3f} s"
    )
    return {
        "late_scene_seconds": round(seconds, 3),
        "late_scene_rows": rows,
        "late_over_scenes_folded_again": round(seconds / (usual * (size.late_back + 1)), 3),
    }


def make_watch(area: BaseGeometry) -> Watch:
    """Make a watch of burned areas over an AOI."""
    band = BandRef("red")
    profile = Profile("bench", "Bench", "c", band, band, band, low=0, high=1, gsd_m=10)
    rule = AlertRule("large", (ChangeKind.GREW,), min_area_m2=5_000.0)
    return Watch(
        "forest-fires", Instruction("segment the burned area", ("burned",)), area, profile,
        "https://stac.example", _BEGAN, tracking=TrackingSettings(), rules=(rule,),
    )  # fmt: skip


def make_scene(at: datetime, footprint: BaseGeometry) -> Scene:
    """Make a scene of one acquisition over a footprint."""
    name = f"bench-{at:%Y%m%d}"
    item = Item(
        id=name, collection="c", href=f"https://stac.example/items/{name}", acquired_at=at, updated_at=None,
        platform="p", relative_orbit="1", processing_baseline="", footprint=footprint,
        assets={"red": f"https://img.example/{name}.tif"},
    )  # fmt: skip
    return Scene("c", "p", "1", at.date(), at, (item,), footprint)


@contextmanager
def throwaway_cluster() -> Iterator[Cluster]:
    """Start a PostgreSQL cluster with production durability, deleted afterwards."""
    # not the user's temporary folder: the server's account may have no access to it
    home = Path(tempfile.mkdtemp(prefix="segwatch-bench-", dir="/tmp"))
    home.chmod(0o755)
    cluster = Cluster(home)
    try:
        yield cluster
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


def _print_costs(costs: Sequence[Cost]) -> None:
    table = Table(
        "tracks in the history",
        "one scene",
        "rows written",
        "peak memory",
        "overlay of the whole layer",
        "ratio",
    )
    for cost in costs:
        table.add_row(
            f"{cost.tracks:,}", f"{cost.seconds:.2f} s", f"{cost.rows:,}", f"{cost.peak_mib:.0f} MiB",
            f"{cost.overlay_seconds:.2f} s", f"{cost.overlay_seconds / cost.seconds:.1f}x",
        )  # fmt: skip
    out.print(table)
