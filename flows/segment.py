"""segment: lease scenes, read them, answer every pending instruction on them, store the answers.

The flow drains: it loads the model once and works until the queue is empty and a linger time has passed.
Reading the next scene overlaps computing this one. Inference runs outside any transaction.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import flow
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import ledger, observations
from segwatch.db.errors import LeaseLost
from segwatch.flows import evidence, segmenters
from segwatch.flows.answering import Group, SceneUnusable, answer_group, bands, overlap
from segwatch.flows.assemble import worker_engine
from segwatch.flows.reading import Reading
from segwatch.flows.settings import FlowSettings, load_settings
from segwatch.geo.errors import GeoError
from segwatch.geo.sources import hrefs

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(slots=True)
class Drained:
    """Counts of one drain."""

    scenes: int = 0
    inferred: int = 0
    skipped: int = 0
    failed: int = 0
    """Attempts that failed; the ledger says whether another one follows."""


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
        self.total = Drained()

    def run(self, stop: threading.Event | None = None) -> Drained:
        """Work until the queue is empty and the linger time has passed, or ``stop`` is set."""
        stop = stop or threading.Event()
        try:
            with ExitStack() as stack:
                stack.enter_context(self._heartbeat())
                reader = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="read"))
                stack.callback(self._close_readings)
                following = self._next(reader)
                while following is not None or self._linger(stop):
                    if following is None:
                        following = self._next(reader)
                        continue
                    current = following
                    following = None if stop.is_set() else self._next(reader)
                    self._answer(*current)
        finally:
            with self._engine.begin() as conn:
                ledger.release(conn, self._worker)
        return self.total

    def _next(
        self, reader: ThreadPoolExecutor
    ) -> tuple[ledger.SceneLease, list[tuple[Group, Reading]]] | None:
        """Lease the best scene and start reading it in the background."""
        with self._engine.begin() as conn:
            lease = ledger.lease(
                conn,
                worker=self._worker,
                seconds=self._settings.lease_seconds,
                model_version=self._segmenter.version,
                watch=self._watch,
            )
        if lease is None:
            return None
        side = self._segmenter.tile_px
        rows = side - overlap(side)
        groups = [
            (group, Reading(reader, lease.scene, group.view, bands(group.view.grid, side), rows))
            for group in _groups(lease, self._settings)
        ]
        self._readings += [reading for _, reading in groups]
        return lease, groups

    def _close_readings(self) -> None:
        for reading in self._readings:
            reading.close()

    def _linger(self, stop: threading.Event) -> bool:
        """Wait a little for new work; False once the linger time has passed without any."""
        deadline = time.monotonic() + self._settings.linger_seconds
        while not stop.is_set():
            with self._engine.begin() as conn:
                if ledger.waiting(conn, model_version=self._segmenter.version, watch=self._watch):
                    return True
            if time.monotonic() >= deadline:
                return False
            stop.wait(min(1.0, max(0.05, deadline - time.monotonic())))
        return False

    def _answer(self, lease: ledger.SceneLease, groups: list[tuple[Group, Reading]]) -> None:
        self.total.scenes += 1
        for group, reading in groups:
            try:
                with reading:
                    self._answer_group(group, reading)
            except (GeoError, OSError, RuntimeError, ValueError) as error:
                # the named border of one scene: whatever is wrong with it is recorded, the rest goes on
                _log.exception("scene %s failed", lease.scene.key)
                for observation in group.observations:
                    self._fail(observation.id, f"{type(error).__name__}: {error}")
            self._readings.remove(reading)
            self._progress(f"{lease.scene.key}: {len(group.observations)} instruction(s)")

    def _answer_group(self, group: Group, reading: Reading) -> None:
        preview = evidence.Preview(group.view.grid)
        answers = answer_group(group, reading, self._segmenter, self._settings.tile_batch, preview)
        for observation, result in answers:
            if isinstance(result, SceneUnusable):
                self._skip(observation.id, result.reason)
                continue
            timings = {"read_at": reading.read_at, "inferred_at": datetime.now(UTC)}
            if result.tiles_failed > observation.watch.max_failed_tiles * result.tiles:
                self._fail(observation.id, f"{result.tiles_failed} of {result.tiles} tiles failed")
                continue
            picture = evidence.write(self._settings, observation.watch.name, observation.id, preview, result)
            try:
                with self._engine.begin() as conn:
                    ledger.save(conn, observation.id, self._worker, result, timings, evidence=picture)
            except LeaseLost:
                _log.warning(
                    "observation %s: the lease ran out and was taken over; result dropped", observation.id
                )
                continue
            self.total.inferred += 1

    def _skip(self, observation_id: UUID, reason: str) -> None:
        with self._engine.begin() as conn:
            ledger.skip(conn, observation_id, self._worker, reason)
        self.total.skipped += 1

    def _fail(self, observation_id: UUID, reason: str) -> None:
        with self._engine.begin() as conn:
            ledger.fail(conn, observation_id, self._worker, reason, max_attempts=self._settings.max_attempts)
        self.total.failed += 1

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
                    _log.warning("leases could not be renewed, trying again: %s", error.orig)

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _groups(lease: ledger.SceneLease, settings: FlowSettings) -> list[Group]:
    """Observations that look at the same pixels, so that these are read and encoded once."""
    by_view: dict[tuple[str, bytes], list[ledger.LeasedObservation]] = defaultdict(list)
    for observation in lease.observations:
        watch = observation.watch
        by_view[watch.profile.name, watch.area.wkb].append(observation)
    return [
        Group(
            tuple(members),
            frozenset(_hosts(members)),
            settings.credentials_for(members[0].watch.profile.name),
        )
        for members in by_view.values()
    ]


def _hosts(members: list[ledger.LeasedObservation]) -> Iterator[str]:
    for member in members:
        yield from hrefs.readable_hosts(member.watch.profile, member.watch.catalog)


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
    return Drain(engine, segmenters.load(settings), settings, watch=watch, progress=progress).run()


@flow(name="segment", log_prints=False)
def segment(watch: str | None = None) -> dict[str, Any]:
    """Drain the queue, of one watch or of all."""
    settings = load_settings()
    with worker_engine(settings) as engine:
        return asdict(drain(engine, settings, watch=watch))
