"""Record the outcome of each observation in the ledger, and failures of sources in their circuits.

A failure of a scene is a failed attempt of its observations. A failure of a source or of this machine is not counted
(:mod:`segwatch.flows.failures.blame`): the source's circuit opens, and its observations wait until it works again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine

from segwatch.db import admission, circuits, ledger, usage
from segwatch.db.errors import LeaseLost, describe_error, is_connection_lost
from segwatch.db.usage import AttemptOutcome
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.failures.blame import Blame, Cause, find_cause
from segwatch.flows.failures.reasons import Reasons
from segwatch.flows.telemetry.scenes import Attempt, SceneReport
from segwatch.geo.sources.http.circuits import list_scene_circuits
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.2, 10.0
#: After this many failures in a row this drain avoids a circuit for a while, however soon its next probe is due.
_AVOID_AFTER, _AVOID_SECONDS = 2, 60.0


@dataclass(slots=True)
class DrainCounts:
    """Counts of one drain."""

    scenes: int = 0
    inferred: int = 0
    skipped: int = 0
    failed: int = 0
    """Failed attempts; the ledger decides whether another one follows."""
    waiting: int = 0
    """Observations put back because their source or this machine failed; not counted as attempts."""
    reasons: Reasons = field(default_factory=Reasons)
    """Why observations were skipped, failed or put back -> how many."""

    def add(self, other: DrainCounts) -> None:
        """Add the counts of another drain."""
        for name in ("scenes", "inferred", "skipped", "failed", "waiting"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.reasons.items():
            for _ in range(count):
                self.reasons.add(reason)


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt at an observation has cost."""

    compute_seconds: float = 0.0
    """Time in the segmenter."""
    bytes_read: float = 0.0
    """Its share of what was read for all instructions of the scene."""


_NOTHING = Spent()
_OUTCOMES = {
    Blame.SCENE: AttemptOutcome.SCENE,
    Blame.SOURCE: AttemptOutcome.SOURCE,
    Blame.MACHINE: AttemptOutcome.MACHINE,
}


class OutcomeRecorder:
    """Records outcomes for one worker, with retries while the database is unreachable.

    Parameters
    ----------
    worker
        Name that holds the leases.
    report_alive
        Called before each attempt to reach the database.
    """

    def __init__(
        self, engine: Engine, worker: str, settings: FlowSettings, report_alive: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._worker = worker
        self._settings = settings
        self._report_alive = report_alive
        self._outages: dict[str, tuple[int, float]] = {}
        """Circuit -> failures in a row, and time of the last one (monotonic)."""
        self.stop = threading.Event()
        """Ends retries when set."""
        self.counts = DrainCounts()
        self.reports: dict[str, SceneReport] = {}
        """Report of each leased scene, by its key."""

    @property
    def retries(self) -> dict[str, Any]:
        """Retry limits of a failed attempt, as the ledger takes them."""
        return {
            "max_attempts": self._settings.max_attempts,
            "retry_seconds": self._settings.retry_seconds,
        }

    def transaction(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction; retry with back-off while the database is unreachable.

        Computed results are held that long.
        """
        deadline, wait = time.monotonic() + self._settings.database_wait_seconds, _MIN_WAIT_SECONDS
        while True:
            self._report_alive()
            try:
                with self._engine.begin() as conn:
                    return work(conn)
            except Exception as error:
                if not is_connection_lost(error) or time.monotonic() >= deadline or self.stop.is_set():
                    raise
                _log.warning("the database is unreachable, trying again: %s", describe_error(error))
            self.stop.wait(wait)
            wait = min(2 * wait, _MAX_WAIT_SECONDS)

    @contextmanager
    def recording_failures(
        self,
        scene: Scene,
        observations: Sequence[ledger.LeasedObservation],
        find_spent: Callable[[], Spent] = Spent,
    ) -> Iterator[None]:
        """Record an error of the block as the failure of these observations, so that the drain continues.

        Parameters
        ----------
        find_spent
            Called after an error: what each of the observations has cost until then.

        Raises
        ------
        Exception
            The error, when the connection to the database was lost.
        """
        try:
            yield
        except Exception as error:
            if is_connection_lost(error):
                raise
            key, cause = scene.key, find_cause(error)
            if cause.blame is Blame.SCENE:
                _log.exception("scene %s failed", key)
            else:
                _log.warning("scene %s waits: %s", key, describe_error(error))
            self._settle(scene, observations, cause, describe_error(error), find_spent())

    def _settle(
        self,
        scene: Scene,
        observations: Sequence[ledger.LeasedObservation],
        cause: Cause,
        reason: str,
        spent: Spent,
    ) -> None:
        """Record the failure of observations of one scene, and the state of their source."""
        if cause.blame is Blame.SCENE:
            for one in observations:
                self.fail(scene, one, reason, AttemptOutcome.SCENE, spent, permanent=cause.permanent)
            if cause.source_works:
                self.close_circuits(scene, observations)
            return
        for one in observations:
            self.put_back(scene, one, reason, cause, find_circuits(scene, one.watch), spent)
        self._open_circuit(cause, reason)

    def _open_circuit(self, cause: Cause, reason: str) -> None:
        """Record the failure of the cause's circuit, and let other workers probe the circuits this one was probing."""
        if cause.circuit:
            count, _ = self._outages.get(cause.circuit, (0, 0.0))
            self._outages[cause.circuit] = count + 1, time.monotonic()

        def record(conn: Connection) -> None:
            if cause.circuit:
                circuits.record_failure(
                    conn,
                    cause.circuit,
                    reason,
                    first_seconds=self._settings.retry_seconds,
                    asked_seconds=cause.retry_after_seconds,
                    jitter=random.uniform(0.8, 1.2),  # noqa: S311 - spreads probes, guards nothing
                )
            circuits.release_probes(conn, self._worker)

        self.transaction(record)

    def close_circuits(self, scene: Scene, observations: Sequence[ledger.LeasedObservation]) -> None:
        """Record that the sources of these observations work."""
        names = {name for one in observations for name in find_circuits(scene, one.watch)}
        for name in names:
            self._outages.pop(name, None)
        if self.transaction(lambda conn: circuits.record_success(conn, names)):
            _log.info("sources work again: %s", ", ".join(sorted(names)))

    def list_avoided(self) -> list[str]:
        """List the circuits that this worker leaves to others for now."""
        since = time.monotonic() - _AVOID_SECONDS
        return [name for name, (count, at) in self._outages.items() if count >= _AVOID_AFTER and at > since]

    def save(
        self,
        scene: Scene,
        observation: ledger.LeasedObservation,
        result: ObservationResult,
        timings: dict[str, Any],
        quicklook: str | None,
        spent: Spent,
    ) -> None:
        """Save a result; it is dropped when another worker has taken over the lease."""

        def write(conn: Connection) -> None:
            ledger.save(conn, observation.id, self._worker, result, timings, evidence=quicklook)
            _add_usage(conn, observation.id, AttemptOutcome.OBSERVED, spent)

        try:
            self.transaction(write)
        except LeaseLost:
            _log.warning("observation %s: another worker took over its lease; result dropped", observation.id)
            return
        self.counts.inferred += 1
        self._report(scene, observation, AttemptOutcome.OBSERVED, "", spent, len(result.detections))

    def skip(
        self, scene: Scene, observation: ledger.LeasedObservation, reason: str, spent: Spent = _NOTHING
    ) -> None:
        """Record that the scene cannot be observed, which is final."""
        outcome = AttemptOutcome.UNUSABLE
        if self._end(
            observation.id,
            outcome,
            spent,
            lambda conn: ledger.skip(conn, observation.id, self._worker, reason),
        ):
            self.counts.skipped += 1
            self.counts.reasons.add(reason)
            self._report(scene, observation, outcome, reason, spent)

    def fail(
        self,
        scene: Scene,
        observation: ledger.LeasedObservation,
        reason: str,
        outcome: AttemptOutcome,
        spent: Spent = _NOTHING,
        *,
        permanent: bool = False,
    ) -> None:
        """Record a failed attempt; a permanent failure is the last one, however many attempts are left."""
        retries = self.retries | ({"max_attempts": 0} if permanent else {})
        if self._end(
            observation.id,
            outcome,
            spent,
            lambda conn: ledger.fail(conn, observation.id, self._worker, reason, **retries),
        ):
            self.counts.failed += 1
            self.counts.reasons.add(reason)
            self._report(scene, observation, outcome, reason, spent)

    def put_back(
        self,
        scene: Scene,
        observation: ledger.LeasedObservation,
        reason: str,
        cause: Cause,
        needs: Collection[str] = (),
        spent: Spent = _NOTHING,
    ) -> None:
        """Put an observation back into the queue, without counting an attempt; ``needs`` names its circuits."""
        outcome = _OUTCOMES.get(cause.blame, AttemptOutcome.MACHINE)
        if self._end(
            observation.id,
            outcome,
            spent,
            lambda conn: admission.refuse(
                conn,
                observation.id,
                self._worker,
                reason,
                circuit=cause.circuit,
                needs=needs,
                asked_seconds=cause.retry_after_seconds,
                patience_seconds=self._settings.outage_hours * 3600,
                **self.retries,
            ),
        ):
            self.counts.waiting += 1
            self.counts.reasons.add(reason)
            self._report(scene, observation, outcome, reason, spent)

    def _end(
        self,
        observation_id: UUID,
        outcome: AttemptOutcome,
        spent: Spent,
        write: Callable[[Connection], bool],
    ) -> bool:
        """Record an outcome and its cost in one transaction; False if the lease was lost."""

        def end(conn: Connection) -> bool:
            ended = write(conn)
            if ended:
                _add_usage(conn, observation_id, outcome, spent)
            return ended

        return self.transaction(end)

    def _report(
        self,
        scene: Scene,
        observation: ledger.LeasedObservation,
        outcome: AttemptOutcome,
        reason: str,
        spent: Spent,
        polygons: int = 0,
    ) -> None:
        report = self.reports.get(scene.key)
        if report is not None:
            name = observation.watch.name
            report.attempts.append(
                Attempt(name, outcome, reason, spent.compute_seconds, spent.bytes_read, polygons)
            )


def _add_usage(conn: Connection, observation_id: UUID, outcome: AttemptOutcome, spent: Spent) -> None:
    usage.record_attempt(
        conn, observation_id, outcome, compute_seconds=spent.compute_seconds, bytes_read=spent.bytes_read
    )


def find_circuits(scene: Scene, watch: Watch) -> frozenset[str]:
    """Return the circuits that must be closed for a watch to read a scene."""
    return list_scene_circuits(scene, watch.profile)
