"""Ask every question of the cookbook at a million tracks, and count what summing costs a scene.

The ledger of :mod:`segwatch.benchmarks.tracking_scale`, with judgements, alerts, reviews, an assessment and districts.
Each question is asked twenty times as the analyst, each time at another place; the time until all rows have arrived
counts. ``history_over_sums`` is how much longer the area of some weeks takes from the history of every object than from
the sums.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import psycopg
from rich.table import Table
from shapely.geometry import box
from sqlalchemy import Engine, text

from segwatch.benchmarks import tracking_scale
from segwatch.benchmarks.tracking_scale import World, out, throwaway_cluster
from segwatch.db import admin_areas, summaries
from segwatch.db.admin_areas import AdminArea
from segwatch.flows.pipeline.tracking import track_ready

COOKBOOK = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "cookbook.md"
_RUNS = 20
_DISTRICTS = 10  # along each side of the AOI


@dataclass(frozen=True)
class Size:
    """Size of one run."""

    tracks: int
    side: int
    """Objects along the side of a block; a scene shows side x side objects."""


FULL = Size(1_000_000, 100)
QUICK = Size(40_000, 20)

#: What people and later scenes added: judgements, alerts about some changes, corrections, reviews, an assessment.
_FURTHER = (
    """
    INSERT INTO segwatch.change_judgement (id, change_id, observation_id, acquired_at, scene_id, confidence, status,
        observations_for, observations_against, earliest, latest, views, recorded)
    SELECT gen_random_uuid(), c.id, o.id, o.acquired_at, o.scene_id, 0.9,
           CASE WHEN c.kind = 'grew' THEN 'provisional' ELSE 'confirmed' END, 2, 0, c.valid_at - interval '7 days',
           c.valid_at, '[]', tstzrange(c.recorded_at, NULL)
    FROM segwatch.change c JOIN segwatch.observation o ON o.id = c.observation_id
    """,
    """
    INSERT INTO segwatch.alert (id, change_id, revision_id, rule, created_at)
    SELECT gen_random_uuid(), c.id, o.revision_id, 'large', c.recorded_at
    FROM segwatch.change c JOIN segwatch.observation o ON o.id = c.observation_id
    WHERE c.kind = 'grew' AND get_byte(uuid_send(c.id), 0) < 8
    """,
    """
    INSERT INTO segwatch.alert_correction (alert_id, ordinal, kind, recorded_at)
    SELECT id, 1, 'updated', created_at + interval '7 days' FROM segwatch.alert WHERE get_byte(uuid_send(id), 0) < 50
    """,
    """
    INSERT INTO segwatch.review (id, track_id, ordinal, verdict, reviewer, reason, outline, looked_at)
    SELECT gen_random_uuid(), t.track_id, 1,
           CASE WHEN get_byte(uuid_send(t.id), 1) < 128 THEN 'rejected' ELSE 'confirmed' END,
           'ada', 'seen', t.geom, t.last_looked
    FROM segwatch.track_state t
    WHERE upper_inf(t.recorded) AND upper_inf(t.valid) AND get_byte(uuid_send(t.id), 0) = 7
    ORDER BY t.id LIMIT 1000
    """,
    """
    INSERT INTO segwatch.assessment (id, series_id, ordinal, seed, drawn_at)
    SELECT gen_random_uuid(), id, 1, 1, now() FROM segwatch.series
    """,
    """
    INSERT INTO segwatch.target_accuracy (assessment_id, target, labels, words, estimates)
    SELECT id, 'burned', 100, 'made for a benchmark',
           '{"area_m2": {"value": 9, "low": 8, "high": 11}, "mapped_m2": 10}' FROM segwatch.assessment
    """,
)
#: The area at the end of each week without sums.
_COUNTED = """
    SELECT w.week, sum(h.area_m2) FILTER (WHERE h.status = 'confirmed') AS confirmed_m2
    FROM generate_series(timestamptz '2025-06-02Z', '2025-06-30Z', interval '7 days') AS w(week)
    JOIN watch.object_history h
      ON h.watch = 'forest-fires' AND h.target = 'burned' AND h.alive AND h.recorded_to IS NULL
     AND h.valid_from < w.week + interval '7 days' AND coalesce(h.valid_to, 'infinity') >= w.week + interval '7 days'
    GROUP BY w.week ORDER BY w.week
"""


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure the p95 of every question, and the share of the sums in the cost of a scene."""
    del device  # all on the CPU
    size = QUICK if quick else FULL
    with throwaway_cluster() as cluster:
        world = World(cluster, size.side)
        world.grow(size.tracks)
        seconds = _complete(world)
        figures: dict[str, float | int] = {"tracks": size.tracks, "seconds_to_sum_history": round(seconds, 1)}
        figures |= _time_questions(world.analyst, quick=quick)
        figures |= _time_fold(world)
        world.engine.dispose()
        world.analyst.dispose()
    return figures


def read_cookbook(path: Path = COOKBOOK) -> dict[str, str]:
    """Return title -> query of every SQL block of the cookbook."""
    return {
        title.strip(): query.strip().rstrip(";")
        for title, query in re.findall(
            r"^### (.+?)$.*?^```sql\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
    }


def _complete(world: World) -> float:
    """Add what the grown history lacks, and sum it; returns the seconds that summing took."""
    with psycopg.connect(world.superuser_url, autocommit=True) as conn:
        for statement in _FURTHER:
            conn.execute(statement.encode())
        conn.execute("VACUUM ANALYZE")
    begun = time.perf_counter()
    with world.engine.begin() as made:
        admin_areas.replace_layer(made, "districts", _make_districts(world))
    seconds = time.perf_counter() - begun
    with psycopg.connect(world.superuser_url, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
    return seconds


def _make_districts(world: World) -> list[AdminArea]:
    west, south, east, north = world.area.bounds
    across, up = np.linspace(west, east, _DISTRICTS + 1), np.linspace(south, north, _DISTRICTS + 1)
    return [
        AdminArea(f"District {row}{column}", box(across[column], up[row], across[column + 1], up[row + 1]))
        for row in range(_DISTRICTS)
        for column in range(_DISTRICTS)
    ]


def _time_questions(analyst: Engine, *, quick: bool) -> dict[str, float | int]:
    table = Table("question", "rows", "median ms", "p95 ms")
    chance = random.Random(1)  # noqa: S311
    slowest = 0.0
    for title, query in read_cookbook().items():
        milliseconds, rows = _time_question(analyst, query, chance)
        worst = float(np.percentile(milliseconds, 95))
        table.add_row(title, str(rows), f"{median(milliseconds):.1f}", f"{worst:.1f}")
        slowest = max(slowest, worst)
    out.print(table)
    with analyst.connect() as conn:
        sums = next(one for title, one in read_cookbook().items() if title.startswith("How large was"))
        read = min(_time(conn, sums)[0] for _ in range(3))
        counted = _time(conn, _COUNTED)[0]
    out.print(f"area of four weeks: {read:.1f} ms from the sums, {counted:.0f} ms from the history")
    return {
        "questions": len(read_cookbook()),
        "slowest_question_p95_ms": round(slowest, 1),
        "history_over_sums": round(counted / read, 1),
    }


def _time_question(analyst: Engine, query: str, chance: random.Random) -> tuple[list[float], int]:
    times, rows = [], 0
    with analyst.connect() as conn:
        conn.execute(text("SET statement_timeout = '30s'"))
        _time(conn, query)  # the first one reads the catalog
        for _ in range(_RUNS):
            milliseconds, rows = _time(conn, _move(query, chance))
            times.append(milliseconds)
    return times, rows


def _time(conn: Any, query: str) -> tuple[float, int]:
    begun = time.perf_counter()
    rows = conn.execute(text(query.replace(":", "\\:"))).all()
    return 1000 * (time.perf_counter() - begun), len(rows)


def _move(query: str, chance: random.Random) -> str:
    """Ask the question at another place of the AOI."""
    east, north = chance.uniform(0, 0.2), chance.uniform(0, 0.1)

    def shift(found: re.Match[str]) -> str:
        numbers = [float(one) for one in re.findall(r"\d+\.\d+", found[0])]
        moved = iter([f"{one + (north if index % 2 else east):.4f}" for index, one in enumerate(numbers)])
        return re.sub(r"\d+\.\d+", lambda _: next(moved), found[0])

    return re.sub(r"(?:ST_MakeEnvelope|ST_Point|why_not)\([0-9., ]+", shift, query)


def _time_fold(world: World) -> dict[str, float | int]:
    """Track a block again and again: the share of the time that summing takes."""
    block = box(*world.area.bounds[:2], *(_corner(world)))
    shares, seconds = [], []
    for number in range(4):
        found = tracking_scale.block_detections(world.side, seed=number)
        world.store_prediction(block, found, tracking_scale.NOW + timedelta(days=number))
        with _stopwatch() as spent:
            begun = time.perf_counter()
            track_ready(world.engine)
            taken = time.perf_counter() - begun
        shares.append(spent["seconds"] / taken)
        seconds.append(taken)
    out.print(
        f"scene of {world.side**2} objects: {min(seconds[1:]):.2f} s, of which sums {median(shares[1:]):.1%}"
    )
    return {
        "scene_detections": world.side**2,
        "scene_seconds": round(min(seconds[1:]), 3),
        "sums_share_of_scene": round(median(shares[1:]), 4),
    }


def _corner(world: World) -> tuple[float, float]:
    west, south, east, north = world.area.bounds
    return west + (east - west) / 10, south + (north - south) / 10


@contextmanager
def _stopwatch() -> Iterator[Mapping[str, float]]:
    spent = {"seconds": 0.0}
    follow = summaries.follow_fold

    def timed(*arguments: Any, **more: Any) -> None:
        begun = time.perf_counter()
        follow(*arguments, **more)
        spent["seconds"] += time.perf_counter() - begun

    with mock.patch.object(summaries, "follow_fold", timed):
        yield spent
