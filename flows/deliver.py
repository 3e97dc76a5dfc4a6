"""deliver: send the outbox to its channels, at least once, in order, under a stable idempotency key."""

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
from prefect import flow
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import digests, outbox, withdrawing
from segwatch.db.errors import words
from segwatch.db.outbox import DeliveryLease
from segwatch.flows.alerting import channels
from segwatch.flows.alerting.channels import Problem
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.orchestration.heartbeats import registered
from segwatch.flows.orchestration.lost_runs import end_lost
from segwatch.flows.runtime import stopping
from segwatch.flows.runtime.assemble import worker_engine
from segwatch.geo.sources.http import egress

_log = logging.getLogger(__name__)
_AT_ONCE = 32
#: Of these, so that a channel that hangs leaves the most to others.
_OF_A_CHANNEL = 8
_BATCH = 64
_MOST_LEASED = 4 * _BATCH
_LOOK_EVERY_SECONDS = 0.25
#: A message waits so long for a courier that died.
_MAX_LEASE_SECONDS = 60.0
_LEASE_TIMEOUTS = 12.0
#: So soon a message follows a watch that was applied anew.
_CHECK_EVERY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 3600.0
#: A channel's first rest, in first waits of a message.
_REST = 6.0


@dataclass(slots=True)
class Delivered:
    """Counts of one pass over the outbox."""

    delivered: int = 0
    failed: int = 0
    """Attempts that failed; the row stays in the outbox and is tried again later."""
    held: list[str] = field(default_factory=list)
    """What other couriers that are alive still had to send at the end."""
    withdrawn: int = 0
    """Messages that are not sent any more: the watch in force does not name their channel."""


def deliver_outbox(engine: Engine, settings: FlowSettings) -> Delivered:
    """Send everything that is due. Receivers must honour ``webhook-id``: a crash after sending repeats it.

    What a courier that died had leased is waited for, and sent: its leases are not renewed, and run out in a minute.
    """
    courier = _Courier(engine, settings)
    with engine.begin() as conn:
        outbox.escalate(conn)
        courier.check_channels(conn)
        digests.gather(conn)
        outbox.give_up_gone(conn)
    with courier.alive():
        asyncio.run(courier.run())
        while courier.outlives_others():
            asyncio.run(courier.run())
    total = courier.total
    if total.delivered or total.failed or total.withdrawn:
        _log.info("deliver %s", asdict(total))
    return total


class _Courier:
    """Sends many messages at a time. One that takes its time limit holds up its own channel only."""

    def __init__(self, engine: Engine, settings: FlowSettings) -> None:
        self.total = Delivered()
        self._engine = engine
        self._settings = settings
        # unique in time as well: what a dead namesake held is not ours to give back
        self._worker = f"deliver-{socket.gethostname()}-{os.getpid()}-{random.getrandbits(32):08x}"
        # renewed while it works, so it need not last as long as a batch
        self._lease_seconds = min(
            settings.lease_seconds, _MAX_LEASE_SECONDS, _LEASE_TIMEOUTS * settings.delivery_timeout_seconds
        )
        self._waiting: list[DeliveryLease] = []
        self._sending: dict[asyncio.Task[Problem | None], DeliveryLease] = {}
        self._in_vain: frozenset[str] = frozenset()
        """Channels past which nothing was due at the last look."""
        self._look_again_at = 0.0
        self._configuration: tuple[Any, ...] = ()
        """Of the watches, when channels were checked last."""
        self._check_at = 0.0

    def check_channels(self, conn: Connection) -> None:
        """Withdraw what the watches in force do not name any more, also of what is leased and not on its way yet."""
        configuration = withdrawing.configuration(conn)
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
    def alive(self) -> Iterator[None]:
        """Renew the leases while the block runs; what it still holds at its end is given back."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._lease_seconds / 4):
                try:
                    with self._engine.begin() as conn:
                        outbox.renew(conn, self._worker, self._lease_seconds)
                except DBAPIError as error:
                    # the next beat comes before the lease has run out
                    _log.warning("leases could not be renewed, trying again: %s", words(error))

        thread = threading.Thread(target=beat, name="courier-heartbeat", daemon=True)
        thread.start()
        try:
            with stopping.giving_back("message(s)", self._give_back):
                yield
        finally:
            done.set()
            thread.join()
            if self._waiting or self._sending:
                self._give_back()

    def _give_back(self) -> int:
        with self._engine.begin() as conn:
            return outbox.release_all(conn, self._worker)

    def outlives_others(self) -> bool:
        """Wait until the leases of couriers that died have run out; False once only living ones hold any."""
        first: dict[str, datetime] | None = None
        while not stopping.requested.is_set():
            with self._engine.connect() as conn:
                found = outbox.held_by_others(conn, self._worker)
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
            stopping.requested.wait(_LOOK_EVERY_SECONDS)
        return False

    async def run(self) -> None:
        """Until nothing is due, or the process is to stop."""
        self._look_again_at = 0.0
        loop = asyncio.get_running_loop()
        # names are looked up and services notified there; whoever hangs must not hang the ledger, too
        loop.set_default_executor(ThreadPoolExecutor(2 * _AT_ONCE))
        with ThreadPoolExecutor(1) as ledger:
            # the time limit is that of the whole exchange, see channels.send
            allowed = self._settings.permitted_addresses
            async with egress.async_client(allowed, timeout=None, follow_redirects=False) as client:
                while not stopping.requested.is_set():
                    while self._looks_further():
                        await loop.run_in_executor(ledger, self._lease)
                        await self._start_checked(client, ledger)
                    if not self._sending:
                        return
                    done, _ = await asyncio.wait(
                        self._sending, timeout=_LOOK_EVERY_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    results = [(self._sending.pop(task), task.result()) for task in done]
                    if all(problem is None for _, problem in results):
                        # the next ones are on their way while the ledger is told of these
                        await self._start_checked(client, ledger)
                    if results:
                        await loop.run_in_executor(ledger, self._record, results)
                        await self._start_checked(client, ledger)

    async def _start_checked(self, client: httpx.AsyncClient, ledger: ThreadPoolExecutor) -> None:
        """Send of what is leased what the watches in force still want sent."""
        if self._waiting and time.monotonic() >= self._check_at:
            await asyncio.get_running_loop().run_in_executor(ledger, self._check)
        self._start(client)

    def _start(self, client: httpx.AsyncClient) -> None:
        """Send of what is leased as much as may be on the way at once."""
        on_the_way = Counter(one.channel for one in self._sending.values())
        left = []
        for one in self._waiting:
            if len(self._sending) < _AT_ONCE and on_the_way[one.channel] < _OF_A_CHANNEL:
                on_the_way[one.channel] += 1
                self._sending[asyncio.create_task(self._send(client, one))] = one
            else:
                left.append(one)
        self._waiting = left

    async def _send(self, client: httpx.AsyncClient, one: DeliveryLease) -> Problem | None:
        try:
            return await channels.send(client, one, self._settings)
        except Exception as error:
            # whatever it is, it is this message's; without its words, which may quote the address or a secret
            at = traceback.extract_tb(error.__traceback__)[-1]
            reason = (
                f"unexpected: {type(error).__name__} in {at.name} of {Path(at.filename).name}:{at.lineno}"
            )
            return Problem(reason, of_channel=False)

    def _served(self) -> frozenset[str]:
        """Channels of which there is as much as may be sent now."""
        on_the_way = Counter(one.channel for one in self._sending.values())
        full = {channel for channel, count in on_the_way.items() if count >= _OF_A_CHANNEL}
        return frozenset(full | {one.channel for one in self._waiting})

    def _looks_further(self) -> bool:
        """Whether to lease more: for channels that are not served yet, as long as something goes on its way."""
        if len(self._sending) >= _AT_ONCE or len(self._waiting) >= _MOST_LEASED:
            return False
        # past thousands of one channel, a look for others' costs as much as a lease
        return not self._in_vain <= self._served() or time.monotonic() >= self._look_again_at

    def _lease(self) -> None:
        served = self._served()
        with self._engine.begin() as conn:
            found = outbox.lease(
                conn, worker=self._worker, seconds=self._lease_seconds, limit=_BATCH, but_not=sorted(served)
            )
        self._waiting += found
        self._in_vain = served
        self._look_again_at = 0.0 if len(found) == _BATCH else time.monotonic() + _LOOK_EVERY_SECONDS

    def _record(self, results: Sequence[tuple[DeliveryLease, Problem | None]]) -> None:
        """Once a channel rests, what was leased for it is given back untried."""
        resting = set()
        with self._engine.begin() as conn:
            for one, problem in results:
                if problem is None:
                    outbox.delivered(conn, one.id)
                elif self._failed(conn, one, problem):
                    resting.add(one.channel)
            untried = [one for one in self._waiting if one.channel in resting]
            outbox.release(conn, self._worker, [one.id for one in untried])
        self._waiting = [one for one in self._waiting if one.channel not in resting]
        if any(one.channel not in self._in_vain for one, _ in results):
            self._look_again_at = 0.0  # what waited behind these is due now
        failed = sum(problem is not None for _, problem in results)
        self.total.failed += failed
        self.total.delivered += len(results) - failed

    def _failed(self, conn: Connection, one: DeliveryLease, problem: Problem) -> bool:
        shown = channels.shown(one.channel)
        _log.warning("delivery %s to %s failed: %s", one.idempotency_key, shown, problem.reason)
        if problem.gone:
            given_up = outbox.gone(conn, one.id, problem.reason)
            _log.warning("channel %s is set aside: %d message(s) given up", shown, given_up)
            return True
        first = self._settings.delivery_retry_seconds
        return outbox.failed(
            conn,
            one.id,
            problem.reason,
            retry_in_seconds=max(problem.wait_seconds, _wait(first, one.attempts)),
            give_up_seconds=None if problem.of_channel else self._settings.delivery_hours * 3600,
            rest_seconds=_REST * first if problem.of_channel else None,
        )


def _wait(first: float, attempts: int) -> float:
    """Exponential back-off; scattered, so that what failed together does not come again together."""
    longest: float = min(_LONGEST_RETRY_SECONDS, first * 2.0 ** min(attempts, 30))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


@flow(name="deliver", log_prints=False)
def deliver() -> dict[str, Any]:
    """Send what is due."""
    settings = load_settings()
    with worker_engine(settings) as engine, registered(engine, settings, "deliver"):
        end_lost(engine)
        return asdict(deliver_outbox(engine, settings))
