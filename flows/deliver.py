"""deliver: send the outbox to its channels, at least once, in order, under a stable idempotency key."""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import httpx
from prefect import flow
from sqlalchemy import Engine

from segwatch.db import digests, outbox
from segwatch.flows import channels
from segwatch.flows.assemble import worker_engine
from segwatch.flows.settings import FlowSettings, load_settings

_log = logging.getLogger(__name__)
_AT_ONCE = 8
_BATCH = 8 * _AT_ONCE
_LONGEST_RETRY_SECONDS = 3600.0
#: A channel's first rest, in first waits of a message.
_REST = 6.0


@dataclass(slots=True)
class Delivered:
    """Counts of one pass over the outbox."""

    delivered: int = 0
    failed: int = 0
    """Attempts that failed; the row stays in the outbox and is tried again later."""


def deliver_outbox(engine: Engine, settings: FlowSettings) -> Delivered:
    """Send everything that is due. Receivers must honour ``webhook-id``: a crash after sending repeats it."""
    total = Delivered()
    # unique in time as well: what a dead namesake held is not ours to give back
    worker = f"deliver-{socket.gethostname()}-{os.getpid()}-{random.getrandbits(32):08x}"
    lease_seconds = settings.delivery_timeout_seconds * 1.5 * _BATCH / _AT_ONCE
    with (
        httpx.Client(timeout=settings.delivery_timeout_seconds, follow_redirects=False) as client,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        with engine.begin() as conn:
            outbox.escalate(conn)
            digests.gather(conn)
        while True:
            with engine.begin() as conn:
                batch = outbox.lease(conn, worker=worker, seconds=lease_seconds, limit=_BATCH)
            if not batch:
                break
            _send_batch(engine, client, pool, worker, batch, settings, total)
    if total.delivered or total.failed:
        _log.info("deliver %s", asdict(total))
    return total


def _send_batch(
    engine: Engine,
    client: httpx.Client,
    pool: ThreadPoolExecutor,
    worker: str,
    batch: Sequence[outbox.DeliveryLease],
    settings: FlowSettings,
    total: Delivered,
) -> None:
    """Send leased messages some at a time; once a channel rests, its others are given back untried."""
    resting: set[str] = set()
    untried: list[UUID] = []
    for start in range(0, len(batch), _AT_ONCE):
        several = batch[start : start + _AT_ONCE]
        tried = [one for one in several if one.channel not in resting]
        untried += [one.id for one in several if one.channel in resting]
        problems = list(pool.map(lambda one: channels.send(client, one, settings), tried))
        with engine.begin() as conn:
            for one, problem in zip(tried, problems, strict=True):
                if problem is None:
                    outbox.delivered(conn, one.id)
                    total.delivered += 1
                    continue
                total.failed += 1
                _log.warning(
                    "delivery %s to %s failed: %s",
                    one.idempotency_key,
                    channels.shown(one.channel),
                    problem.reason,
                )
                first = settings.delivery_retry_seconds
                if outbox.failed(
                    conn,
                    one.id,
                    problem.reason,
                    retry_in_seconds=max(problem.wait_seconds, _wait(first, one.attempts)),
                    give_up_seconds=settings.delivery_hours * 3600,
                    rest_seconds=_REST * first if problem.of_channel else None,
                ):
                    resting.add(one.channel)
    with engine.begin() as conn:
        outbox.release(conn, worker, untried)


def _wait(first: float, attempts: int) -> float:
    """Exponential back-off; scattered, so that what failed together does not come again together."""
    longest: float = min(_LONGEST_RETRY_SECONDS, first * 2.0 ** min(attempts, 30))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


@flow(name="deliver", log_prints=False)
def deliver() -> dict[str, Any]:
    """Send what is due."""
    settings = load_settings()
    with worker_engine(settings) as engine:
        return asdict(deliver_outbox(engine, settings))
