"""Upgrade a large ledger while others read and write it: how long does anybody wait?

A real PostGIS gets the schema of an earlier release and so many tracks, each with states, detections and messages. Then
the migrations run while sessions ask for objects, and write messages and observations, as fast as they can.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from rich.console import Console

from segwatch.benchmarks.tracking_scale import throwaway_cluster
from segwatch.db.migrate import upgrade

#: Schema that the upgrade starts from.
BEFORE = "0041"
_STATES = 2
#: Rows of a watch with so many tracks, each with so many states, as many detections, and a message.
_SEED = (
    "INSERT INTO segwatch.area (id, geom) VALUES (gen_random_uuid(), ST_MakeEnvelope(0, 0, 10, 10, 4326))",
    "INSERT INTO segwatch.instruction (id, text, targets) VALUES (gen_random_uuid(), 'water', '{water}')",
    """
    INSERT INTO segwatch.watch (id, name, instruction_id, area_id, definition, priority)
    SELECT gen_random_uuid(), 'w', i.id, a.id, '{}', 1 FROM segwatch.instruction i, segwatch.area a
    """,
    "INSERT INTO segwatch.watch_head (name, revision_id) SELECT 'w', id FROM segwatch.watch",
    """
    INSERT INTO segwatch.series (id, watch_name, instruction_id, model_version, origin_lon, origin_lat)
    SELECT gen_random_uuid(), 'w', id, 'm@1', 0, 0 FROM segwatch.instruction
    """,
    """
    INSERT INTO segwatch.scene (id, key, catalog, collection, platform, relative_orbit, solar_day, acquired_at,
                                footprint)
    SELECT gen_random_uuid(), n::text, 'c', 'c', 'p', '1', '2024-01-01'::date + n,
           '2024-01-01'::timestamptz + n * interval '1 day', ST_MakeEnvelope(0, 0, 10, 10, 4326)
    FROM generate_series(1, %(states)s) n
    """,
    """
    INSERT INTO segwatch.observation (id, series_id, scene_id, revision_id, model_version, state, priority, acquired_at,
                                      footprint, items, committed_at)
    SELECT gen_random_uuid(), e.id, s.id, w.id, 'm@1', 'observed', 1, s.acquired_at, s.footprint, '{}', now()
    FROM segwatch.scene s, segwatch.series e, segwatch.watch w
    """,
    """
    INSERT INTO segwatch.track (id, series_id, target, object_id)
    SELECT gen_random_uuid(), e.id, 'water', gen_random_uuid() FROM segwatch.series e, generate_series(1, %(tracks)s) n
    """,
    """
    INSERT INTO segwatch.track_state (id, track_id, observation_id, valid, recorded, geom, area_m2, score, first_seen,
                                      last_seen, last_looked, misses, visible_share, alive)
    SELECT gen_random_uuid(), t.id, o.id,
           tstzrange(o.acquired_at, CASE WHEN NOT o.last THEN o.acquired_at + interval '1 day' END),
           tstzrange(now(), NULL), ST_Buffer(ST_SetSRID(ST_MakePoint(10 * random(), 10 * random()), 4326), 0.001), 1000,
           1, o.acquired_at, o.acquired_at, o.acquired_at, 0, 1, true
    FROM segwatch.track t,
         (SELECT id, acquired_at, acquired_at = max(acquired_at) OVER () AS last FROM segwatch.observation) o
    """,
    """
    INSERT INTO segwatch.detection (id, observation_id, ordinal, target, geom, score, area_m2, track_id)
    SELECT gen_random_uuid(), s.observation_id, row_number() OVER (PARTITION BY s.observation_id), 'water', s.geom, 1,
           s.area_m2, s.track_id FROM segwatch.track_state s
    """,
    """
    INSERT INTO segwatch.delivery (id, channel, idempotency_key, payload, state, delivered_at)
    SELECT gen_random_uuid(), 'https://hook.example', t.id::text,
           jsonb_build_object('type', 'segwatch.alert',
                              'data', jsonb_build_object('track', t.id, 'text', repeat('x', 600))),
           'delivered', now() FROM segwatch.track t
    """,
)
_OTHERS = (
    "SELECT count(*) FROM watch.coverage",
    "SELECT * FROM segwatch.track_state ORDER BY id LIMIT 100",
    """INSERT INTO segwatch.delivery (id, channel, idempotency_key, payload, state)
       VALUES (gen_random_uuid(), 'https://hook.example', gen_random_uuid()::text, '{}', 'pending')""",
    "UPDATE segwatch.observation SET attempts = attempts WHERE state = 'observed'",
)
_SIZES = """
    SELECT relname, pg_total_relation_size(oid) FROM pg_class
    WHERE relnamespace = 'segwatch'::regnamespace AND relkind = 'r' ORDER BY 2 DESC LIMIT 5
"""

out = Console(width=110, highlight=False)


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Upgrade a ledger of a million tracks, ``quick`` one of 20 000, while others use it."""
    del device
    tracks = 20_000 if quick else 1_000_000
    with throwaway_cluster() as cluster:
        info = cluster.up()
        owner, url = info.url_for("segwatch_owner"), info.superuser_url()
        upgrade(owner, BEFORE)
        sizes = _seed(url, tracks)
        idle = _measure_idle(url)
        with _others(url) as waits:
            began = time.monotonic()
            upgrade(owner)
            took = time.monotonic() - began
    for name, size in sizes.items():
        out.print(f"{name}: {size / 2**20:.0f} MiB, {size / tracks:.0f} bytes a track")
    out.print(
        f"longest statement: {max(waits):.2f} s during the upgrade, {max(idle):.2f} s before; {took:.1f} s in all"
    )
    return {
        "tracks": tracks,
        "upgrade_seconds": round(took, 2),
        "longest_statement_ms": round(1000 * max(waits)),
        "longest_statement_before_ms": round(1000 * max(idle)),
        "statements": len(waits),
    }


def _seed(url: str, tracks: int) -> dict[str, int]:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in _SEED:
            conn.execute(statement.encode(), {"tracks": tracks, "states": _STATES})
        conn.execute("ANALYZE")
        return {name: int(size) for name, size in conn.execute(_SIZES.encode()).fetchall()}


def _measure_idle(url: str) -> list[float]:
    with _others(url) as waits:
        time.sleep(3)
    return waits


@contextmanager
def _others(url: str) -> Iterator[list[float]]:
    """Sessions that run one statement each, again and again, for the length of the block; seconds of each statement."""
    waits: list[float] = []
    done = threading.Event()

    def work(statement: str) -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            while not done.is_set():
                began = time.monotonic()
                conn.execute(statement.encode())
                waits.append(time.monotonic() - began)
                time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(one,)) for one in _OTHERS]
    for one in threads:
        one.start()
    try:
        yield waits
    finally:
        done.set()
        for one in threads:
            one.join()
