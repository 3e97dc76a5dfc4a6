"""Throughput of the outbox: many alerts at once, to a receiver that responds immediately.

One scene raises them all, through the real flow on a real PostGIS; delivery is measured until the last row is marked.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import httpx
import psycopg
import uvicorn
from rich.console import Console
from shapely.geometry import box
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from segwatch.benchmarks import tracking_scale as scale
from segwatch.db import ledger, observations, scenes, watches
from segwatch.db.embedded.ports import reserve_port
from segwatch.db.engine import make_engine
from segwatch.db.migrate import upgrade
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import load_settings
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.types.tracking import ChangeKind, ObservationResult
from segwatch.geo.types.watch import AlertRule

_SECRET = "whsec_c2Vnd2F0Y2ggc2Vnd2F0Y2ggc2Vnd2F0Y2g="  # noqa: S105 - of nobody
_LOAD = """
    SELECT xact_commit, tup_inserted + tup_updated, active_time, pg_current_wal_lsn() - '0/0'::pg_lsn
    FROM pg_stat_database WHERE datname = current_database()
"""

out = Console(width=110, highlight=False)


def run(*, quick: bool) -> dict[str, float | int]:
    """Measure alerts per second through the outbox, and the load on the database per alert."""
    side = 32 if quick else 103  # one object in twenty is missing
    held = reserve_port()
    port = held.getsockname()[1]
    sink = multiprocessing.get_context("spawn").Process(target=serve_sink, args=(held,), daemon=True)
    sink.start()
    try:
        with scale.throwaway_cluster() as cluster:
            info = cluster.up()
            upgrade(info.url_for("segwatch_owner"))
            engine = make_engine(info.url_for("segwatch_worker"))
            url = f"http://127.0.0.1:{port}/alerts"
            _wait(url)
            area = box(15.0, 46.0, 15.0 + side * 0.0026, 46.0 + side * 0.0018)
            rule = AlertRule("all", tuple(ChangeKind), include_baseline=True, channels=(url,))
            with engine.begin() as conn:
                watch = replace(scale.make_watch(area), rules=(rule,))
                revision = watches.apply(conn, watch).revision_id
                ids = scenes.upsert(conn, [scale.make_scene(watch.start + timedelta(days=1), area)])
                observations.enqueue(conn, revision, scale.MODEL, ids)
                lease = ledger.lease(conn, worker="w", seconds=600, model_version=scale.MODEL)
                assert lease is not None
                found = tuple(scale.block_detections(side, seed=1))
                result = ObservationResult(area, found, "", 1, 0, 1.0, 0, 0.0)
                ledger.save(conn, lease.observations[0].id, "w", result, {})
            begun = time.perf_counter()
            alerts = track_ready(engine).alerts
            raised = time.perf_counter() - begun
            before = _load(info.superuser_url())
            begun = time.perf_counter()
            settings = load_settings(webhook_secret=_SECRET, allowed_addresses=(f"127.0.0.1:{port}",))
            done = deliver_outbox(engine, settings)
            seconds = time.perf_counter() - begun
            engine.dispose()
            after = _load(info.superuser_url())
    finally:
        sink.kill()
        held.close()
        sink.join()
    if done.delivered != alerts or done.failed:
        raise RuntimeError(
            f"{alerts} alerts were raised, {done.delivered} delivered, {done.failed} attempts failed"
        )
    commits, rows, active_ms, wal = (late - early for late, early in zip(after, before, strict=True))
    out.print(
        f"{alerts} alerts: raised with their objects in {raised:.2f} s, delivered in {seconds:.2f} s "
        f"({alerts / seconds:.0f}/s); the database: {commits / alerts:.2f} transactions, {rows / alerts:.2f} rows and "
        f"{wal / alerts / 1024:.1f} KiB of log an alert, busy for {active_ms / 1000 / seconds:.0%} of the time"
    )
    return {
        "outbox_alerts": alerts,
        "outbox_raise_seconds": round(raised, 3),
        "outbox_deliver_seconds": round(seconds, 3),
        "outbox_alerts_per_second": round(alerts / seconds, 1),
        "outbox_transactions_per_alert": round(commits / alerts, 3),
        "outbox_rows_written_per_alert": round(rows / alerts, 3),
        "outbox_wal_kib_per_alert": round(wal / alerts / 1024, 2),
        "outbox_database_busy_share": round(active_ms / 1000 / seconds, 3),
    }


def serve_sink(held: socket.socket) -> None:
    """Accept all requests and discard them."""

    async def take(request: Request) -> Response:
        await request.body()
        return Response(status_code=204)

    app = Starlette(routes=[Route("/alerts", take, methods=["POST"])])
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[held])


def _wait(url: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            httpx.post(url, timeout=1)
            return
        time.sleep(0.05)
    raise RuntimeError(f"the receiver at {url} did not start")


def _load(url: str) -> tuple[float, ...]:
    time.sleep(1.2)  # the server's statistics lag by up to a second
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(_LOAD).fetchone()
    return tuple(float(value) for value in row or ())
