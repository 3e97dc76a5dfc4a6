"""Send the messages of the outbox to their channels: at least once, in order, under a stable idempotency key."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import digests, outbox, withdrawing
from segwatch.db.errors import describe_error
from segwatch.db.outbox import DeliveryLease
from segwatch.flows.alerting import channels
from segwatch.flows.alerting.backoff import compute_circuit_seconds, compute_retry_seconds
from segwatch.flows.alerting.channels import DeliveryProblem
from segwatch.flows.config.settings.alerts import AlertSettings
from segwatch.flows.runtime import stopping
from segwatch.flows.telemetry import tracing
from segwatch.geo.sources.http import egress

_log = logging.getLogger(__name__)
_MAX_CONCURRENT = 32
#: Lower than the total, so that a hanging channel leaves most of the capacity to the others.
_MAX_CONCURRENT_PER_CHANNEL = 8
_BATCH = 64
_MAX_LEASED = 4 * _BATCH
_POLL_SECONDS = 0.25
#: After a courier has died, its messages wait at most this long.
_MAX_LEASE_SECONDS = 60.0
_LEASE_TIMEOUTS = 12.0
#: How soon a newly applied watch revision affects what is sent.
_CHECK_EVERY_SECONDS = 0.1


@dataclass(slots=True)
class DeliveryCounts:
    """Counts of one pass over the outbox."""

    delivered: int = 0
    failed: int = 0
    """Failed attempts; their messages stay in the outbox and are retried."""
    held: list[str] = field(default_factory=list)
    """Messages still leased by other live couriers at the end."""
    withdrawn: int = 0
    """Messages dropped because the watch revision in force no longer names their channel."""


def deliver_outbox(engine: Engine, settings: AlertSettings) -> DeliveryCounts:
    """Send everything that is due.

    A crash after sending repeats a message, so receivers must deduplicate by ``webhook-id``. Messages leased by a
    courier that died are sent once its lease has expired, within a minute.
    """
    courier = _Courier(engine, settings)
    with engine.begin() as conn:
        outbox.escalate(conn)
        courier.check_channels(conn)
        digests.write_due(conn)
        outbox.give_up_gone(conn)
    with courier.keep_leases():
        asyncio.run(courier.run())
        while courier.wait_for_dead_couriers():
            asyncio.run(courier.run())
    total = courier.total
    if total.delivered or total.failed or total.withdrawn:
        _log.info("deliver %s", asdict(total))
    return total


class _Courier:
    """Sends many messages concurrently; a slow receiver delays only its own channel."""

    def __init__(self, engine: Engine, settings: AlertSettings) -> None:
        self.total = DeliveryCounts()
        self._engine = engine
        self._settings = settings
        # a process id may be reused: the random part keeps us from releasing the leases of a dead courier
        self._worker = f"deliver-{socket.gethostname()}-{os.getpid()}-{random.getrandbits(32):08x}"
        # leases are renewed while sending, so they may be shorter than a batch takes
        self._lease_seconds = min(
            settings.lease_seconds, _MAX_LEASE_SECONDS, _LEASE_TIMEOUTS * settings.delivery_timeout_seconds
        )
        self._waiting: list[DeliveryLease] = []
        self._sending: dict[asyncio.Task[DeliveryProblem | None], DeliveryLease] = {}
        self._excluded: frozenset[str] = frozenset()
        """Channels that the last lease query excluded."""
        self._poll_again_at = 0.0
        self._configuration: tuple[Any, ...] = ()
        """State of the watches at the last check of the channels."""
        self._check_at = 0.0

    def check_channels(self, conn: Connection) -> None:
        """Drop messages, leased ones too, whose channel is no longer named by the watch revisions in force."""
        configuration = withdrawing.read_configuration(conn)
        if configuration != self._configuration:
            count, withdrawn = withdrawing.withdraw(conn)
            self.total.withdrawn += count
            self._waiting = [one for one in self._waiting if one.id not in withdrawn]
        self._configuration = configuration
        self._check_at = time.monotonic() + _CHECK_EVERY_SECONDS

    def _check(self) -> None:
        with self._engine.begin() as conn:
            self.check_channels(conn)

    @contextmanager
    def keep_leases(self) -> Iterator[None]:
        """Renew the leases while the block runs, and release at its end those that are left."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self._lease_seconds / 4):
                try:
                    with self._engine.begin() as conn:
                        outbox.renew(conn, self._worker, self._lease_seconds)
                except DBAPIError as error:
                    # the next attempt comes before the leases expire
                    _log.warning("leases could not be renewed, trying again: %s", describe_error(error))

        thread = threading.Thread(target=renew, name="courier-heartbeat", daemon=True)
        thread.start()
        try:
            with stopping.release_on_stop("message(s)", self._release_all):
                yield
        finally:
            done.set()
            thread.join()
            if self._waiting or self._sending:
                self._release_all()

    def _release_all(self) -> int:
        with self._engine.begin() as conn:
            return outbox.release_all(conn, self._worker)

    def wait_for_dead_couriers(self) -> bool:
        """Wait for the leases of dead couriers to expire.

        A courier whose lease is not renewed while we wait is presumed dead. Return True as soon as messages of one are
        free, False once only live couriers hold leases or the process is to stop.
        """
        first: dict[str, datetime] | None = None
        while not stopping.stop_requested.is_set():
            with self._engine.connect() as conn:
                found = outbox.list_other_leases(conn, self._worker)
            now = {one.worker: one.until for one in found}
            suspects = (
                now if first is None else {one: first[one] for one in first if now.get(one) == first[one]}
            )
            if first is not None and any(one not in now for one in first):
                return True
            self.total.held = [str(one) for one in found]
            if not suspects:
                return False
            first = suspects
            stopping.stop_requested.wait(_POLL_SECONDS)
        return False

    async def run(self) -> None:
        """Send until nothing is due or the process is to stop."""
        self._poll_again_at = 0.0
        loop = asyncio.get_running_loop()
        # DNS and Apprise run in the default executor; the ledger has its own thread, so that they cannot block it
        loop.set_default_executor(ThreadPoolExecutor(2 * _MAX_CONCURRENT))
        with ThreadPoolExecutor(1) as ledger:
            # channels.send limits the time of the whole exchange
            allowed = self._settings.permitted_addresses
            async with egress.create_async_client(allowed, timeout=None, follow_redirects=False) as client:
                while not stopping.stop_requested.is_set():
                    while self._can_lease_more():
                        await loop.run_in_executor(ledger, self._lease)
                        await self._start_checked(client, ledger)
                    if not self._sending:
                        return
                    done, _ = await asyncio.wait(
                        self._sending, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    results = [(self._sending.pop(task), task.result()) for task in done]
                    if all(problem is None for _, problem in results):
                        # start the next ones before recording these
                        await self._start_checked(client, ledger)
                    if results:
                        await loop.run_in_executor(ledger, self._record, results)
                        await self._start_checked(client, ledger)

    async def _start_checked(self, client: httpx.AsyncClient, ledger: ThreadPoolExecutor) -> None:
        """Check the channels if that is due, then start sending leased messages."""
        if self._waiting and time.monotonic() >= self._check_at:
            await asyncio.get_running_loop().run_in_executor(ledger, self._check)
        self._start(client)

    def _start(self, client: httpx.AsyncClient) -> None:
        """Start sending leased messages, within the limits of concurrency."""
        in_flight = Counter(one.channel for one in self._sending.values())
        left = []
        for one in self._waiting:
            if len(self._sending) < _MAX_CONCURRENT and in_flight[one.channel] < _MAX_CONCURRENT_PER_CHANNEL:
                in_flight[one.channel] += 1
                self._sending[asyncio.create_task(self._send(client, one))] = one
            else:
                left.append(one)
        self._waiting = left

    async def _send(self, client: httpx.AsyncClient, one: DeliveryLease) -> DeliveryProblem | None:
        try:
            with tracing.span("send message", messages=[str(one.payload["id"])], attempt=one.attempts + 1):
                problem = await channels.send(client, one, self._settings)
                if problem is not None:
                    tracing.annotate(problem=problem.reason)
                return problem
        except Exception as error:
            # a bug may concern this message alone; its text may quote a URL or a secret, so only its place is kept
            at = traceback.extract_tb(error.__traceback__)[-1]
            reason = (
                f"unexpected: {type(error).__name__} in {at.name} of {Path(at.filename).name}:{at.lineno}"
            )
            return DeliveryProblem(reason, of_channel=False)

    def _saturated_channels(self) -> frozenset[str]:
        """Channels with leased messages waiting, or with as many in flight as allowed."""
        in_flight = Counter(one.channel for one in self._sending.values())
        full = {channel for channel, count in in_flight.items() if count >= _MAX_CONCURRENT_PER_CHANNEL}
        return frozenset(full | {one.channel for one in self._waiting})

    def _can_lease_more(self) -> bool:
        """Whether a lease query may find messages for channels that are not saturated."""
        if len(self._sending) >= _MAX_CONCURRENT or len(self._waiting) >= _MAX_LEASED:
            return False
        # skipping thousands of messages of one channel makes an empty query as expensive as a full one
        return not self._excluded <= self._saturated_channels() or time.monotonic() >= self._poll_again_at

    def _lease(self) -> None:
        saturated = self._saturated_channels()
        with self._engine.begin() as conn:
            found = outbox.lease(
                conn,
                worker=self._worker,
                seconds=self._lease_seconds,
                limit=_BATCH,
                but_not=sorted(saturated),
            )
        self._waiting += found
        self._excluded = saturated
        self._poll_again_at = 0.0 if len(found) == _BATCH else time.monotonic() + _POLL_SECONDS

    def _record(self, results: Sequence[tuple[DeliveryLease, DeliveryProblem | None]]) -> None:
        """Record outcomes; release untried messages of channels whose circuit opened."""
        open_circuits = set()
        with self._engine.begin() as conn:
            for one, problem in results:
                if problem is None:
                    outbox.record_delivered(conn, one.id)
                elif self._record_failure(conn, one, problem):
                    open_circuits.add(one.channel)
            untried = [one for one in self._waiting if one.channel in open_circuits]
            outbox.release(conn, self._worker, [one.id for one in untried])
        self._waiting = [one for one in self._waiting if one.channel not in open_circuits]
        if any(one.channel not in self._excluded for one, _ in results):
            self._poll_again_at = 0.0  # later messages about the same objects may be due now
        failed = sum(problem is not None for _, problem in results)
        self.total.failed += failed
        self.total.delivered += len(results) - failed

    def _record_failure(self, conn: Connection, one: DeliveryLease, problem: DeliveryProblem) -> bool:
        """Record a failed attempt; return whether the channel's circuit is open now."""
        shown = channels.name_channel(one.channel)
        _log.warning("delivery %s to %s failed: %s", one.idempotency_key, shown, problem.reason)
        if problem.gone:
            given_up = outbox.record_gone(conn, one.id, problem.reason)
            _log.warning("channel %s is gone: %d message(s) given up", shown, given_up)
            return True
        first = self._settings.delivery_retry_seconds
        return outbox.record_failure(
            conn,
            one.id,
            problem.reason,
            retry_in_seconds=max(problem.wait_seconds, compute_retry_seconds(first, one.attempts)),
            give_up_seconds=None if problem.of_channel else self._settings.delivery_hours * 3600,
            rest_seconds=compute_circuit_seconds(first) if problem.of_channel else None,
        )
