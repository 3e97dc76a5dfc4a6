"""Follow a segment run in the ledger, and give up on it once nothing happens any more.

Prefect's state of a run does not prove that it is alive: if a process is killed with its worker, the run stays Running
for ever.
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
from segwatch.db.errors import describe_error, is_connection_lost
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference import watch_models
from segwatch.flows.orchestration.lost_runs import end_lost_runs

_log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
#: Maximum time without progress of a run that is alive; batches of tiles have shorter limits of their own.
_MAX_STILL_SECONDS = 6 * 3600.0
_WARN_SECONDS = 60.0
#: Maximum time that Prefect may take to report the end of a run that has ended in the ledger.
_MAX_SILENCE_SECONDS = 30.0


class RunEnd(enum.StrEnum):
    """Why following a segment run ended."""

    DONE = "done"
    """No scene of the watch can be observed now."""
    ENDED = "ended"
    """The run has ended, and scenes are left."""
    LOST = "lost"
    """The run's process is gone."""
    STALLED = "stalled"
    """No worker takes the run, or it makes no progress; it was cancelled."""


@dataclass(frozen=True, slots=True)
class FollowedRun:
    """Outcome of following a run."""

    end: RunEnd
    state: State | None
    """Prefect's last known state of the run."""
    why: str
    left: ledger.OpenWork


@dataclass(slots=True)
class _OpenWork:
    """State of the watch's work in the ledger at one moment."""

    left: ledger.OpenWork
    run: runs.Run | None
    pool_alive: bool

    def alive(self) -> bool:
        """Whether a worker works on the watch, or on other scenes before it."""
        return bool(self.left.held) or self.pool_alive

    def progress(self) -> tuple[object, ...]:
        """Return values that change whenever a scene of the watch is leased or observed."""
        return self.left.free, self.left.held, self.left.later, self.left.leased_at


@dataclass(slots=True)
class RunFollower:
    """Follows one run until its outcome is known."""

    engine: Engine
    settings: FlowSettings
    watch: str
    flow_run: FlowRun
    state: State | None = None
    _alive_at: float = field(default_factory=time.monotonic)
    _progressed_at: float = field(default_factory=time.monotonic)
    _read_at: float = field(default_factory=time.monotonic)
    _progress: tuple[object, ...] = ()
    _warned_at: float = 0.0
    _ended_at: float = field(default_factory=time.monotonic)

    def wait(self) -> FollowedRun:
        """Wait until the run is done, has ended, is lost or stalls."""
        with get_client(sync_client=True) as client:
            while True:
                self.state = self._read_state(client) or self.state
                work = self._read_work()
                found = self._judge(work) if work is not None else None
                if found is None:
                    time.sleep(_POLL_SECONDS)
                    continue
                if found.end is RunEnd.STALLED:
                    # otherwise the runs of an absent worker would pile up and all start when it comes back
                    self._cancel(client)
                return found

    def _read_work(self) -> _OpenWork | None:
        """Read the state of the work; None during a database outage."""
        try:
            with self.engine.connect() as conn:
                version = watch_models.find_version(conn, self.settings, self.watch)
                left = ledger.read_open_work(conn, model_version=version, watch=self.watch)
                run = runs.find_by_flow_run(conn, self.flow_run.id)
                alive = runs.is_alive(conn, "segment")
        except Exception as error:
            if not is_connection_lost(error) or self._is_away_too_long():
                raise
            _log.warning("the database cannot be reached, retrying: %s", describe_error(error))
            return None
        self._read_at = time.monotonic()
        return _OpenWork(left, run, alive)

    def _is_away_too_long(self) -> bool:
        return time.monotonic() - self._read_at > self.settings.database_wait_seconds

    def _judge(self, work: _OpenWork) -> FollowedRun | None:
        now = time.monotonic()
        if work.alive():
            self._alive_at = now
        if work.progress() != self._progress:
            self._progress, self._progressed_at = work.progress(), now
        if not work.left.free and not work.left.held:
            return self._make_result(RunEnd.DONE, work, "")
        if work.run is not None and work.run.lost:
            end_lost_runs(self.engine)
            return self._make_result(RunEnd.LOST, work, f"the {work.run} has stopped sending heartbeats")
        if (reason := self._explain_end(work, now)) is not None:
            return self._make_result(RunEnd.ENDED, work, reason)
        return self._check_stalled(work, now)

    def _explain_end(self, work: _OpenWork, now: float) -> str | None:
        """Say how the run ended; None if it goes on, or if other workers hold all that it left."""
        state = self.state
        if state is not None and state.is_completed() and not work.left.free:
            return None
        if state is not None and state.is_final():
            return f"ended as {state.name}" + (f": {state.message}" if state.message else "")
        if work.run is None or work.run.ended_at is None:
            self._ended_at = now
        elif now - self._ended_at > _MAX_SILENCE_SECONDS:
            return f"{work.run.outcome} according to the ledger; Prefect has not reported its end"
        return None

    def _check_stalled(self, work: _OpenWork, now: float) -> FollowedRun | None:
        silent, still = now - self._alive_at, now - self._progressed_at
        if silent > self._warned_at + _WARN_SECONDS:
            self._warned_at = silent
            _log.warning("%s: no worker of the gpu pool has been active for %.0f s", self.watch, silent)
        if silent < _POLL_SECONDS:
            self._warned_at = 0.0
        if silent <= self.settings.segment_wait_seconds and still <= _MAX_STILL_SECONDS:
            return None
        state = self.state.name if self.state is not None else "unknown to Prefect"
        if silent > self.settings.segment_wait_seconds:
            why = f"was {state} after {silent:.0f} s without an active worker of the gpu pool"
        else:
            why = f"was {state} and made no progress on this watch in {still:.0f} s"
        return self._make_result(RunEnd.STALLED, work, f"{why}, and was cancelled")

    def _make_result(self, end: RunEnd, work: _OpenWork, why: str) -> FollowedRun:
        return FollowedRun(end, self.state, why, work.left)

    def _read_state(self, client: SyncPrefectClient) -> State | None:
        try:
            return client.read_flow_run(self.flow_run.id).state
        except (httpx.HTTPError, PrefectException) as error:
            _log.warning(
                "the state of run %s cannot be read from Prefect: %s",
                self.flow_run.name,
                describe_error(error),
            )
            return None

    def _cancel(self, client: SyncPrefectClient) -> None:
        state: State = Cancelling(message="no worker made progress on its watch in time")
        try:
            client.set_flow_run_state(self.flow_run.id, state)
        except (httpx.HTTPError, PrefectException) as error:
            _log.warning("run %s could not be cancelled: %s", self.flow_run.name, describe_error(error))
