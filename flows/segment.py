"""segment: lease scenes, read them, answer every pending instruction on them, store the answers.

The flow drains: it loads the model once and works until the queue is empty and a linger time has passed.
Reading the next scene overlaps computing this one. Inference runs outside any transaction.

Whatever goes wrong with a scene is recorded as its failed attempt, and the rest goes on. What goes wrong with its
source or this machine is not counted (:mod:`segwatch.flows.failures.blame`): the source's circuit opens, and its scenes
wait until it works again. The drain itself ends early when it is told to stop, when the database stays away, and when
the segmenter answers nothing any more. A drain that shows no sign of life ends its process, and its scene goes to
another one.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import random
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from prefect import flow
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import admission, circuits, ledger, observations
from segwatch.db.errors import LeaseLost, connection_lost, words
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.errors import SegmenterError
from segwatch.flows.failures.blame import Blame, Cause, cause_of
from segwatch.flows.failures.reasons import Reasons
from segwatch.flows.inference import quicklooks, segmenters
from segwatch.flows.inference.strips import Reading
from segwatch.flows.inference.tiled import (
    Group,
    SceneMisrendered,
    SceneUnusable,
    TilesFailed,
    answer_group,
    bands,
    overlap,
)
from segwatch.flows.orchestration.heartbeats import registered
from segwatch.flows.orchestration.lost_runs import end_lost
from segwatch.flows.runtime import stopping
from segwatch.flows.runtime.assemble import worker_engine
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.circuits import of_scene
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]
_T = TypeVar("_T")

#: How long a database may be away before the drain ends; computed answers are held that long.
_AWAY_SECONDS = 300.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 10.0
#: Of the process: what stands in for it in Python may be none.
_STDERR = 2
#: After so many failures of one circuit this drain leaves it alone for a while, however short its rests are.
_LEFT_ALONE_AFTER, _LEFT_ALONE_SECONDS = 2, 60.0


@dataclass(slots=True)
class Drained:
    """Counts of one drain."""

    scenes: int = 0
    inferred: int = 0
    skipped: int = 0
    failed: int = 0
    """Attempts that failed; the ledger says whether another one follows."""
    waiting: int = 0
    """Observations whose source or machine failed: not counted as attempts, and taken up again once it works."""
    reasons: Reasons = field(default_factory=Reasons)
    """Why observations were skipped, failed or wait -> how many."""


class Drain:
    """One worker's run over the queue."""

    def __init__(
        self,
        engine: Engine,
        segmenter: segmenters.Segmenter,
        settings: FlowSettings,
        *,
        watch: str | None = None,
        progress: Progress = _log.info,
    ) -> None:
        self._engine = engine
        self._segmenter = segmenter
        self._settings = settings
        self._watch = watch
        self._progress = progress
        self._worker = f"segment-{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
        self._readings: list[Reading] = []
        self._stop = threading.Event()
        self._unanswered: dict[UUID, list[UUID]] = {}
        """Scenes of which the segmenter answered nothing -> their observations."""
        self._outages: dict[str, tuple[int, float]] = {}
        """Circuits -> how often they failed since they worked last, and when last (monotonic)."""
        self.total = Drained()

    def run(self, stop: threading.Event | None = None) -> Drained:
        """Work until the queue is empty and the linger time has passed, or ``stop`` is set.

        Raises
        ------
        SegmenterError
            It answers nothing any more; attempts that it cost are not counted.
        """
        self._stop = stop or threading.Event()
        try:
            with ExitStack() as stack:
                stack.enter_context(self._heartbeat())
                stack.enter_context(stopping.giving_back("observation(s)", self._give_back))
                reader = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="read"))
                stack.callback(self._close_readings)
                following = self._next(reader)
                while following is not None or self._linger():
                    if following is None:
                        following = self._next(reader)
                        continue
                    current = following
                    following = self._next(reader)
                    self._answer(*current)
        except Exception as error:
            if not (isinstance(error, SegmenterError) or connection_lost(error)):
                # uncounted, it would come back for ever
                reason = words(error)
                self._transaction(
                    lambda conn: ledger.fail_held(conn, self._worker, reason, **self._retries())
                )
            raise
        finally:
            self._release()
            faulthandler.cancel_dump_traceback_later()
        return self.total

    def _alive(self) -> None:
        """Put off the end of this process.

        What hangs in a driver cannot be interrupted, not even from another thread where it holds the interpreter's
        lock, and its scene would be held for as long as the heartbeat goes on. Where each thread was is written to
        standard error then.
        """
        faulthandler.dump_traceback_later(self._settings.stall_seconds, exit=True, file=_STDERR)

    def _release(self) -> None:
        try:
            self._give_back()
        except DBAPIError as error:
            if not connection_lost(error):
                raise
            _log.warning("leases could not be given back, they run out by themselves: %s", words(error))

    def _give_back(self) -> int:
        with self._engine.begin() as conn:
            circuits.release(conn, self._worker)
            return ledger.release(conn, self._worker)

    def _transaction(self, work: Callable[[Connection], _T]) -> _T:
        """Do something in a transaction, again and again while the database is away."""
        deadline, wait = time.monotonic() + _AWAY_SECONDS, _FIRST_WAIT_SECONDS
        while True:
            self._alive()
            try:
                with self._engine.begin() as conn:
                    return work(conn)
            except Exception as error:
                if not connection_lost(error) or time.monotonic() >= deadline or self._stop.is_set():
                    raise
                _log.warning("the database is away, trying again: %s", words(error))
            self._stop.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    @contextmanager
    def _border(self, scene: Scene, observations: Sequence[ledger.LeasedObservation]) -> Iterator[None]:
        """Whatever is wrong with a scene becomes the reason of its failed attempt, and the rest goes on."""
        try:
            yield
        except Exception as error:
            if connection_lost(error):
                raise
            key, cause = scene.key, cause_of(error)
            if cause.blame is Blame.SCENE:
                _log.exception("scene %s failed", key)
            else:
                _log.warning("scene %s waits: %s", key, words(error))
            self._settle(scene, observations, cause, words(error))

    def _settle(
        self, scene: Scene, observations: Sequence[ledger.LeasedObservation], cause: Cause, reason: str
    ) -> None:
        """Record a failure of observations of one scene, with what it says about their source."""
        if cause.blame is Blame.SCENE:
            for one in observations:
                self._fail(one.id, reason, permanent=cause.permanent)
            if cause.answered:
                self._works(scene, observations)
            return
        for one in observations:
            self._refuse(one.id, reason, cause, circuits_of(scene, one.watch))
        self._outage(cause, reason)

    def _outage(self, cause: Cause, reason: str) -> None:
        """Open the circuit, and leave the others to be probed by other workers."""
        if cause.circuit:
            count, _ = self._outages.get(cause.circuit, (0, 0.0))
            self._outages[cause.circuit] = count + 1, time.monotonic()

        def record(conn: Connection) -> None:
            if cause.circuit:
                circuits.failed(
                    conn,
                    cause.circuit,
                    reason,
                    first_seconds=self._settings.retry_seconds,
                    asked_seconds=cause.asked_seconds,
                    jitter=random.uniform(0.8, 1.2),  # noqa: S311 - spreads probes, guards nothing
                )
            circuits.release(conn, self._worker)

        self._transaction(record)

    def _works(self, scene: Scene, observations: Sequence[ledger.LeasedObservation]) -> None:
        """The sources of these observations answered."""
        names = {name for one in observations for name in circuits_of(scene, one.watch)}
        for name in names:
            self._outages.pop(name, None)
        if self._transaction(lambda conn: circuits.answered(conn, names)):
            _log.info("sources answer again: %s", ", ".join(sorted(names)))

    def _left_alone(self) -> list[str]:
        since = time.monotonic() - _LEFT_ALONE_SECONDS
        return [
            name for name, (count, at) in self._outages.items() if count >= _LEFT_ALONE_AFTER and at > since
        ]

    def _next(
        self, reader: ThreadPoolExecutor
    ) -> tuple[ledger.SceneLease, list[tuple[Group, Reading]]] | None:
        """Lease the best scene and start reading it in the background; None once the drain is to stop."""
        if self._stop.is_set():
            return None
        lease = self._transaction(
            lambda conn: ledger.lease(
                conn,
                worker=self._worker,
                seconds=self._settings.lease_seconds,
                model_version=self._segmenter.version,
                watch=self._watch,
                circuits_of=circuits_of,
                left_alone=self._left_alone(),
                **self._retries(),
            )
        )
        if lease is None:
            return None
        side = self._segmenter.tile_px
        rows = side - overlap(side)
        groups = []
        for members in _same_pixels(lease):
            with self._border(lease.scene, members):
                group = _group(members, self._settings)
                view = group.view
                reading = Reading(reader, lease.scene, view, bands(view.grid, side), rows)
                self._readings.append(reading)
                groups.append((group, reading))
        return lease, groups

    def _close_readings(self) -> None:
        for reading in self._readings:
            reading.close()

    def _linger(self) -> bool:
        """Wait a little for new work; False once the linger time has passed without any.

        Leases of a worker that was killed are waited for, too: they are not renewed, and run out in a lease time.
        """
        begun = time.monotonic()
        suspects: dict[UUID, datetime] | None = None
        while not self._stop.is_set():
            others, waiting = self._transaction(self._look)
            if waiting:
                return True
            before = others if suspects is None else suspects
            suspects = {one: until for one, until in before.items() if others.get(one) == until}
            longest = self._settings.linger_seconds
            if suspects:
                longest = max(longest, self._settings.lease_seconds + 1)
            left = begun + longest - time.monotonic()
            if left <= 0:
                return False
            self._stop.wait(min(1.0, max(0.05, left)))
        return False

    def _look(self, conn: Connection) -> tuple[dict[UUID, datetime], bool]:
        whose: dict[str, Any] = {"model_version": self._segmenter.version, "watch": self._watch}
        # in this order: a lease that runs out in between waits
        others = ledger.held_by_others(conn, self._worker, **whose)
        waiting = ledger.waiting(conn, **whose, worker=self._worker, left_alone=self._left_alone())
        return others, waiting

    def _answer(self, lease: ledger.SceneLease, groups: list[tuple[Group, Reading]]) -> None:
        self.total.scenes += 1
        for group, reading in groups:
            with self._border(lease.scene, group.observations), reading:
                self._answer_group(lease, group, reading)
            self._readings.remove(reading)
            self._progress(f"{lease.scene.key}: {len(group.observations)} instruction(s)")
        if self._unanswered:
            self._check_segmenter()

    def _answer_group(self, lease: ledger.SceneLease, group: Group, reading: Reading) -> None:
        preview = quicklooks.Preview(group.view.grid)
        answers = answer_group(
            group, reading, self._segmenter, self._settings.tile_batch, preview, self._alive
        )
        read = False
        for observation, result in answers:
            if not read:
                read = True
                self._works(lease.scene, group.observations)
            with self._border(lease.scene, [observation]):
                if isinstance(result, SceneUnusable):
                    self._skip(observation.id, result.reason)
                elif isinstance(result, SceneMisrendered):
                    self._fail(observation.id, result.reason, permanent=True)
                elif isinstance(result, TilesFailed):
                    if result.failed == result.tiles:
                        self._unanswered.setdefault(lease.scene_id, []).append(observation.id)
                    if result.of_machine:
                        self._refuse(observation.id, result.reason, Cause(Blame.MACHINE))
                    else:
                        self._fail(observation.id, result.reason)
                else:
                    if result.tiles:
                        self._unanswered.clear()
                    self._save(observation, result, reading, preview)

    def _save(
        self,
        observation: ledger.LeasedObservation,
        result: ObservationResult,
        reading: Reading,
        preview: quicklooks.Preview,
    ) -> None:
        timings = {"read_at": reading.read_at, "inferred_at": datetime.now(UTC)}
        picture = quicklooks.write(self._settings, observation.watch.name, observation.id, preview, result)
        try:
            self._transaction(
                lambda conn: ledger.save(
                    conn, observation.id, self._worker, result, timings, evidence=picture
                )
            )
        except LeaseLost:
            _log.warning(
                "observation %s: the lease ran out and was taken over; result dropped", observation.id
            )
            return
        self.total.inferred += 1

    def _skip(self, observation_id: UUID, reason: str) -> None:
        if self._transaction(lambda conn: ledger.skip(conn, observation_id, self._worker, reason)):
            self.total.skipped += 1
            self.total.reasons.add(reason)

    def _fail(self, observation_id: UUID, reason: str, *, permanent: bool = False) -> None:
        """Record a failed attempt; a permanent one is the last, however many are left."""
        retries = self._retries() | ({"max_attempts": 0} if permanent else {})
        if self._transaction(lambda conn: ledger.fail(conn, observation_id, self._worker, reason, **retries)):
            self.total.failed += 1
            self.total.reasons.add(reason)

    def _refuse(self, observation_id: UUID, reason: str, cause: Cause, needs: Collection[str] = ()) -> None:
        """Put back what its source or this machine kept from being observed."""
        refused = self._transaction(
            lambda conn: admission.refuse(
                conn,
                observation_id,
                self._worker,
                reason,
                circuit=cause.circuit,
                needs=needs,
                asked_seconds=cause.asked_seconds,
                patience_seconds=self._settings.outage_hours * 3600,
                **self._retries(),
            )
        )
        if refused:
            self.total.waiting += 1
            self.total.reasons.add(reason)

    def _retries(self) -> dict[str, Any]:
        return {
            "max_attempts": self._settings.max_attempts,
            "retry_seconds": self._settings.retry_seconds,
        }

    def _check_segmenter(self) -> None:
        """Ask about nothing at all: what cannot answer that is broken, and no scene is to blame.

        Raises
        ------
        SegmenterError
            It is.
        """
        side = self._segmenter.tile_px
        unanswered, self._unanswered = self._unanswered, {}
        try:
            self._segmenter.segment([np.zeros((side, side, 3), np.uint8)], ["water"])
        except Exception as error:
            ids = [one for observations in unanswered.values() for one in observations]
            self._transaction(lambda conn: ledger.forgive(conn, ids))
            raise SegmenterError(
                f"the segmenter {self._segmenter.version} failed on every tile of {len(unanswered)} scene(s), "
                f"and on an empty one with {words(error)}. Check the device (nvidia-smi) and its memory, then start "
                "the run again; what is pending stays queued, and these attempts are not counted"
            ) from error

    @contextmanager
    def _heartbeat(self) -> Iterator[None]:
        """Renew this worker's leases three times a lease while the block runs."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._settings.lease_seconds / 3):
                try:
                    with self._engine.begin() as conn:
                        ledger.renew(conn, self._worker, self._settings.lease_seconds)
                except DBAPIError as error:
                    # the next beat comes before the lease has run out
                    _log.warning("leases could not be renewed, trying again: %s", words(error))

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def circuits_of(scene: Scene, watch: Watch) -> frozenset[str]:
    """Circuits that a watch needs closed to read a scene."""
    return of_scene(scene, watch.profile)


def _same_pixels(lease: ledger.SceneLease) -> list[list[ledger.LeasedObservation]]:
    """Observations that look at the same pixels, so that these are read and encoded once."""
    by_view: dict[tuple[str, bytes], list[ledger.LeasedObservation]] = defaultdict(list)
    for observation in lease.observations:
        watch = observation.watch
        by_view[watch.profile.name, watch.area.wkb].append(observation)
    return list(by_view.values())


def _group(members: list[ledger.LeasedObservation], settings: FlowSettings) -> Group:
    profile = members[0].watch.profile
    return Group(tuple(members), frozenset(_hosts(members, settings)), settings.credentials_for(profile.name))


def _hosts(members: list[ledger.LeasedObservation], settings: FlowSettings) -> Iterator[str]:
    for member in members:
        yield from hrefs.readable_hosts(member.watch.profile, member.watch.catalog, settings.imagery_hosts)


def work_left(engine: Engine, settings: FlowSettings, watch: str | None = None) -> bool:
    """Whether a run may find something to do: what waits, and what comes back when the worker that holds it is dead."""
    version = segmenters.version_of(settings)
    with engine.connect() as conn:
        return ledger.waiting(conn, model_version=version, watch=watch) or observations.leased(
            conn, model_version=version, watch=watch
        )


def drain(
    engine: Engine, settings: FlowSettings, *, watch: str | None = None, progress: Progress = _log.info
) -> Drained:
    """Load the configured segmenter and drain the queue; without work nothing is loaded."""
    if not work_left(engine, settings, watch):
        return Drained()
    segmenter = segmenters.load(settings)
    return Drain(engine, segmenter, settings, watch=watch, progress=progress).run(stopping.requested)


@flow(name="segment", log_prints=False)
def segment(watch: str | None = None) -> dict[str, Any]:
    """Drain the queue, of one watch or of all."""
    settings = load_settings()
    with worker_engine(settings) as engine, registered(engine, settings, "segment", watch=watch):
        end_lost(engine)
        return asdict(drain(engine, settings, watch=watch))
