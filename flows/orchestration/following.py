"""Follow a segment run by what the ledger says of it, and give up on it once nothing happens any more.

Prefect's state of a run is no proof of life: of a process that was killed with its worker, it stays Running for ever.
"""

from __future__ import annotations

import enum
import logging
import time
from dataclasses import dataclass, field

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectException
from prefect.states import Cancelling
from sqlalchemy import Engine

from segwatch.db import ledger, runs
from segwatch.db.errors import connection_lost, words
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference.segmenters import version_of
from segwatch.flows.orchestration.lost_runs import end_lost

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
#: A run that is alive and answers nothing for so long has lost its way; its batches have limits of their own.
_MAX_STILL_SECONDS = 6 * 3600.0
_WARN_SECONDS = 60.0
#: How long Prefect may take to say how a run ended.
_MAX_SILENCE_SECONDS = 30.0
#: How long the ledger may be away before waiting ends.
_MAX_AWAY_SECONDS = 300.0


class End(enum.StrEnum):
    """Why a segment run is followed no further."""

    DONE = "done"
    """Nothing of the watch can be answered now."""
    ENDED = "ended"
    """The run is over, and something is left."""
    LOST = "lost"
    """The run's process is gone."""
    STALLED = "stalled"
    """No worker takes the run, or nothing comes of it; it was cancelled."""


@dataclass(frozen=True, slots=True)
class Followed:
    """How it ended."""

    end: End
    state: State | None
    """Prefect's, as far as it was known."""
    why: str
    left: ledger.OpenWork


@dataclass(slots=True)
class _Sight:
    """What the ledger shows at one moment."""

    left: ledger.OpenWork
    run: runs.Run | None
    pool_alive: bool

    def alive(self) -> bool:
        """Whether anybody works on the watch, or keeps the pool from it."""
        return bool(self.left.held) or self.pool_alive

    def progress(self) -> tuple[object, ...]:
        """Changes whenever something of the watch is taken or answered."""
        return self.left.free, self.left.held, self.left.later, self.left.leased_at


@dataclass(slots=True)
class Following:
    """Waits for one run."""

    engine: Engine
    settings: FlowSettings
    watch: str
    flow_run: FlowRun
    state: State | None = None
    _seen_alive: float = field(default_factory=time.monotonic)
    _moved: float = field(default_factory=time.monotonic)
    _answered: float = field(default_factory=time.monotonic)
    _progress: tuple[object, ...] = ()
    _warned_of: float = 0.0
    _ended_at: float = field(default_factory=time.monotonic)

    def wait(self) -> Followed:
        """Until there is nothing to wait for."""
        with get_client(sync_client=True) as client:
            while True:
                self.state = self._ask_prefect(client) or self.state
                sight = self._look()
                found = self._judge(sight) if sight is not None else None
                if found is None:
                    time.sleep(_LOOK_SECONDS)
                    continue
                if found.end is End.STALLED:
                    # left alone, the runs of an absent worker would pile up and all begin when it comes back
                    self._cancel(client)
                return found

    def _look(self) -> _Sight | None:
        """None while the ledger is away."""
        try:
            with self.engine.connect() as conn:
                left = ledger.open_work(conn, model_version=version_of(self.settings), watch=self.watch)
                run = runs.of_flow_run(conn, self.flow_run.id)
                alive = runs.alive(conn, "segment")
        except Exception as error:
            if not connection_lost(error) or time.monotonic() - self._answered > _MAX_AWAY_SECONDS:
                raise
            _log.warning("the ledger is away, looking again: %s", words(error))
            return None
        self._answered = time.monotonic()
        return _Sight(left, run, alive)

    def _judge(self, sight: _Sight) -> Followed | None:
        now = time.monotonic()
        if sight.alive():
            self._seen_alive = now
        if sight.progress() != self._progress:
            self._progress, self._moved = sight.progress(), now
        if not sight.left.free and not sight.left.held:
            return self._ended(End.DONE, sight, "")
        if sight.run is not None and sight.run.lost:
            end_lost(self.engine)
            return self._ended(End.LOST, sight, f"the {sight.run} sends no heartbeat any more")
        if (over := self._over(sight, now)) is not None:
            return self._ended(End.ENDED, sight, over)
        return self._stalled(sight, now)

    def _over(self, sight: _Sight, now: float) -> str | None:
        """How the run ended; None while it goes on, or left only what workers that are alive hold."""
        state = self.state
        if state is not None and state.is_completed() and not sight.left.free:
            return None
        if state is not None and state.is_final():
            return f"ended as {state.name}" + (f": {state.message}" if state.message else "")
        if sight.run is None or sight.run.ended_at is None:
            self._ended_at = now
        elif now - self._ended_at > _MAX_SILENCE_SECONDS:
            return f"{sight.run.outcome}, as the ledger says; Prefect does not tell"
        return None

    def _stalled(self, sight: _Sight, now: float) -> Followed | None:
        silent, still = now - self._seen_alive, now - self._moved
        if silent > self._warned_of + _WARN_SECONDS:
            self._warned_of = silent
            _log.warning(
                "%s: no worker of the gpu pool has shown a sign of life for %.0f s", self.watch, silent
            )
        if silent < _LOOK_SECONDS:
            self._warned_of = 0.0
        if silent <= self.settings.segment_wait_seconds and still <= _MAX_STILL_SECONDS:
            return None
        state = self.state.name if self.state is not None else "unknown to Prefect"
        if silent > self.settings.segment_wait_seconds:
            why = f"was {state} after {silent:.0f} s, no worker of the gpu pool shows any sign of life"
        else:
            why = f"was {state} and did nothing for this watch in {still:.0f} s"
        return self._ended(End.STALLED, sight, f"{why}, and was cancelled")

    def _ended(self, end: End, sight: _Sight, why: str) -> Followed:
        return Followed(end, self.state, why, sight.left)

    def _ask_prefect(self, client: SyncPrefectClient) -> State | None:
        try:
            return client.read_flow_run(self.flow_run.id).state
        except (httpx.HTTPError, PrefectException) as error:
            _log.warning("Prefect does not tell of run %s: %s", self.flow_run.name, words(error))
            return None

    def _cancel(self, client: SyncPrefectClient) -> None:
        state: State = Cancelling(message="no worker did anything for its watch in time")
        try:
            client.set_flow_run_state(self.flow_run.id, state)
        except (httpx.HTTPError, PrefectException) as error:
            _log.warning("run %s could not be cancelled: %s", self.flow_run.name, words(error))
