"""Drain the queue: lease scenes, read them, predict every pending instruction on them, store the results.

A drain works until the queue is empty and a linger time has passed. It reads the next scene while it predicts on the
current one. Predictions run outside any transaction.

A failure of a scene, its source or this machine is recorded (:mod:`segwatch.flows.inference.outcomes`), and the drain
continues. The drain stops early on request, when the database stays unreachable, and when the segmenter fails on
everything. A drain that hangs ends its process, so that its leases expire and another worker takes over.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import circuits, ledger, verdicts
from segwatch.db.errors import describe_error, is_connection_lost
from segwatch.db.usage import AttemptOutcome
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import SegmenterError
from segwatch.flows.failures.blame import Blame, Cause
from segwatch.flows.inference import quicklooks, watch_models
from segwatch.flows.inference.outcomes import DrainCounts, OutcomeRecorder, Spent, find_circuits
from segwatch.flows.inference.pending_work import has_work_for
from segwatch.flows.inference.segmenters import InstructionSegmenter, Segmenter, adapt
from segwatch.flows.inference.shadow import ShadowPlan, Shadows, is_spectral
from segwatch.flows.inference.strips import StripReader
from segwatch.flows.inference.tiled import (
    ObservationGroup,
    Outcome,
    SceneMisrendered,
    SceneUnusable,
    TilesFailed,
    compute_overlap,
    predict_group,
    split_grid,
)
from segwatch.flows.runtime import stopping
from segwatch.flows.telemetry import logs, metrics, tracing
from segwatch.flows.telemetry.scenes import SceneReport
from segwatch.geo.sources.http import hrefs
from segwatch.geo.types.segmentation import ReviewedObject, SegmentationRequest
from segwatch.geo.types.source import Profile

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]
OnScene = Callable[[SceneReport, DrainCounts], None]


def _ignore(report: SceneReport, counts: DrainCounts) -> None:
    """Tell nobody of a scene."""


_Groups = list[tuple[ObservationGroup, StripReader]]

#: File descriptor of standard error; ``sys.stderr`` may be None or closed.
_STDERR = 2


class Drain:
    """One worker's pass over the queue.

    Parameters
    ----------
    watch
        Only observations of this watch; None = of all watches.
    progress
        Receives one line for each scene; None = the log.
    on_scene
        Receives the report of each scene that is done, and the counts so far.
    """

    def __init__(
        self,
        engine: Engine,
        segmenter: Segmenter | InstructionSegmenter,
        settings: FlowSettings,
        *,
        watch: str | None = None,
        progress: Progress | None = None,
        on_scene: OnScene = _ignore,
    ) -> None:
        self._engine = engine
        self._segmenter = adapt(segmenter)
        self._settings = settings
        self._watch = watch
        self._progress = progress
        self._on_scene = on_scene
        self._worker = f"segment-{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
        self._outcomes = OutcomeRecorder(engine, self._worker, settings, self._report_alive)
        self._shadows = Shadows(settings)
        self._readings: list[StripReader] = []
        self._stop = threading.Event()
        self._without_prediction: dict[UUID, list[UUID]] = {}
        """Scenes whose tiles all failed since the last success -> their observations."""

    @property
    def counts(self) -> DrainCounts:
        """Counts so far."""
        return self._outcomes.counts

    def run(self, stop: threading.Event | None = None) -> DrainCounts:
        """Work until the queue is empty and the linger time has passed, or ``stop`` is set.

        Raises
        ------
        SegmenterError
            The segmenter fails on everything; the attempts that this cost are not counted.
        """
        self._stop = self._outcomes.stop = stop or threading.Event()
        try:
            with ExitStack() as stack:
                stack.enter_context(self._heartbeat())
                stack.enter_context(stopping.release_on_stop("observation(s)", self._release))
                reader = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="read"))
                stack.callback(self._close_readings)
                following = self._lease_next(reader)
                while following is not None or self._linger():
                    if following is None:
                        following = self._lease_next(reader)
                        continue
                    current = following
                    following = self._lease_next(reader)
                    self._process(*current)
        except Exception as error:
            if not (isinstance(error, SegmenterError) or is_connection_lost(error)):
                # an uncounted attempt would be repeated forever
                self._fail_held(describe_error(error))
            raise
        finally:
            self._release_or_warn()
            faulthandler.cancel_dump_traceback_later()
        return self.counts

    def _report_alive(self) -> None:
        """Restart the watchdog that ends this process when it hangs.

        A call that hangs in a driver cannot be interrupted, not even from another thread when it holds the GIL, and the
        heartbeat would renew its leases forever. The watchdog writes where each thread was to standard error.
        """
        faulthandler.dump_traceback_later(self._settings.stall_seconds, exit=True, file=_STDERR)

    def _fail_held(self, reason: str) -> None:
        self._outcomes.transaction(
            lambda conn: ledger.fail_held(conn, self._worker, reason, **self._outcomes.retries)
        )

    def _release_or_warn(self) -> None:
        try:
            self._release()
        except DBAPIError as error:
            if not is_connection_lost(error):
                raise
            _log.warning("leases could not be released, they will expire: %s", describe_error(error))

    def _release(self) -> int:
        with self._engine.begin() as conn:
            circuits.release_probes(conn, self._worker)
            return ledger.release(conn, self._worker)

    def _lease_next(self, reader: ThreadPoolExecutor) -> tuple[ledger.SceneLease, _Groups] | None:
        """Lease the best scene and start reading it in the background; None when there is none or on stop."""
        if self._stop.is_set():
            return None
        lease = self._outcomes.transaction(
            lambda conn: ledger.lease(
                conn,
                worker=self._worker,
                seconds=self._settings.lease_seconds,
                model_version=self._segmenter.version,
                watch=self._watch,
                circuits_of=find_circuits,
                left_alone=self._outcomes.list_avoided(),
                **self._outcomes.retries,
            )
        )
        if lease is None:
            return None
        self._outcomes.reports[lease.scene.key] = SceneReport.of(lease.scene)
        side = self._segmenter.tile_px
        rows = side - compute_overlap(side)
        groups = []
        reviewed = self._load_reviewed(lease)
        for members in _group_by_pixels(lease):
            with self._outcomes.recording_failures(lease.scene, members):
                spectral = self._needs_indices(lease, members)
                group = _make_group(members, self._settings, side, spectral=spectral, reviewed=reviewed)
                view = group.view
                reading = StripReader(reader, lease.scene, view, split_grid(view.grid, side), rows)
                self._readings.append(reading)
                groups.append((group, reading))
        return lease, groups

    def _needs_indices(self, lease: ledger.SceneLease, members: Sequence[ledger.LeasedObservation]) -> bool:
        """Whether a segmenter of these observations works on spectral indices."""
        plans = self._plan_shadows(lease, members)
        return any(is_spectral(one) for one in (self._segmenter, *(plan.segmenter for plan in plans)))

    def _load_reviewed(self, lease: ledger.SceneLease) -> dict[str, tuple[ReviewedObject, ...]]:
        """Load the reviewed objects of the leased watches, if segmenters are to take exemplars."""
        limit = self._settings.exemplars
        if limit == 0:
            return {}
        names = sorted({one.watch.name for one in lease.observations})
        return self._outcomes.transaction(
            lambda conn: {name: verdicts.list_reviewed(conn, name, limit) for name in names}
        )

    def _close_readings(self) -> None:
        for reading in self._readings:
            reading.close()

    def _linger(self) -> bool:
        """Wait a little for new work; False once the linger time has passed without any.

        Leases that are not renewed belong to a worker that died: the drain waits until they expire. It also waits for a
        scene whose next attempt comes within the linger time.
        """
        begun = time.monotonic()
        stale: dict[UUID, datetime] | None = None
        while not self._stop.is_set():
            leased, is_work_left = self._outcomes.transaction(self._inspect_queue)
            if is_work_left:
                return True
            before = leased if stale is None else stale
            stale = {one: until for one, until in before.items() if leased.get(one) == until}
            longest = self._settings.linger_seconds
            if stale:
                longest = max(longest, self._settings.lease_seconds + 1)
            left = begun + longest - time.monotonic()
            if left <= 0 and not self._outcomes.transaction(self._is_due_soon):
                return False
            self._stop.wait(min(1.0, max(0.05, left)))
        return False

    def _inspect_queue(self, conn: Connection) -> tuple[dict[UUID, datetime], bool]:
        """Observations leased by other workers with their expiry, and whether this worker has work."""
        scope: dict[str, Any] = {"model_version": self._segmenter.version, "watch": self._watch}
        # in this order: a lease that expires between the two queries counts as work
        leased = ledger.list_other_leases(conn, self._worker, **scope)
        avoided = self._outcomes.list_avoided()
        return leased, ledger.has_waiting(conn, **scope, worker=self._worker, left_alone=avoided)

    def _is_due_soon(self, conn: Connection) -> bool:
        return ledger.is_due_within(
            conn,
            self._settings.linger_seconds,
            model_version=self._segmenter.version,
            watch=self._watch,
            worker=self._worker,
            left_alone=self._outcomes.list_avoided(),
        )

    def _process(self, lease: ledger.SceneLease, groups: _Groups) -> None:
        self.counts.scenes += 1
        with tracing.span("segment scene", scene=lease.scene.key, observations=len(lease.observations)):
            for group, reading in groups:
                spent = partial(_find_spent, group, reading)
                with self._outcomes.recording_failures(lease.scene, group.observations, spent), reading:
                    self._process_group(lease, group, reading)
                self._readings.remove(reading)
            self._say(
                f"{self.counts.scenes} scene(s) worked on, the last of {lease.scene.acquired_at:%Y-%m-%d %H:%M} UTC"
            )
            self._report(lease)
        if self._without_prediction:
            self._check_segmenter()

    def _say(self, words: str) -> None:
        if self._progress is not None:
            self._progress(words)
        elif not logs.is_json():  # there, the scene has a line of its own
            _log.info("%s", words)

    def _report(self, lease: ledger.SceneLease) -> None:
        """Tell what became of a scene: in its log line, its span, and to whoever follows the drain."""
        report = self._outcomes.reports.pop(lease.scene.key)
        report.end()
        tracing.annotate(
            outcomes=", ".join(f"{name} {count}" for name, count in report.outcomes.items()),
            compute_seconds=report.compute_seconds,
            bytes_read=report.bytes_read,
            polygons=report.polygons,
        )
        metrics.count_scene(report)
        if logs.is_json():
            report.log()
        self._on_scene(report, self.counts)

    def _process_group(self, lease: ledger.SceneLease, group: ObservationGroup, reading: StripReader) -> None:
        preview = quicklooks.Preview(group.view)
        outcomes = predict_group(
            group,
            reading,
            self._segmenter,
            self._settings.tile_batch,
            preview,
            self._report_alive,
            self._plan_shadows(lease, group.observations),
        )
        is_read = False
        for observation, outcome in outcomes:
            if not is_read:
                is_read = True
                self._outcomes.close_circuits(lease.scene, group.observations)
            with self._outcomes.recording_failures(lease.scene, [observation]):
                self._record(lease, group, observation, outcome, reading, preview)

    def _plan_shadows(
        self, lease: ledger.SceneLease, members: Sequence[ledger.LeasedObservation]
    ) -> list[ShadowPlan]:
        """Choose the second segmenters of observations."""
        if not self._shadows.is_due(lease.scene_id):
            return []
        wanted: dict[str, set[UUID]] = defaultdict(set)
        for one in members:
            name = self._shadows.choose_name(one.watch)
            if name is not None:
                wanted[name].add(one.id)
        share = self._settings.shadow_share
        return [
            ShadowPlan(name, self._load_shadow(name), frozenset(ids), share) for name, ids in wanted.items()
        ]

    def _load_shadow(self, name: str) -> Segmenter | str:
        """Load a shadow segmenter, or say why there is none: the worker's own would be compared with itself."""
        loaded = self._shadows.load(name)
        if isinstance(loaded, str) or loaded.version != self._segmenter.version:
            return loaded
        return f"it is the main segmenter, too ({loaded.version})"

    def _record(
        self,
        lease: ledger.SceneLease,
        group: ObservationGroup,
        observation: ledger.LeasedObservation,
        outcome: Outcome,
        reading: StripReader,
        preview: quicklooks.Preview,
    ) -> None:
        scene, spent = lease.scene, _find_spent(group, reading)
        match outcome:
            case SceneUnusable():
                self._outcomes.skip(scene, observation, outcome.reason, spent)
            case SceneMisrendered():
                reason, saturated = outcome.reason, AttemptOutcome.SATURATED
                self._outcomes.fail(scene, observation, reason, saturated, spent, permanent=True)
            case TilesFailed():
                if outcome.failed == outcome.tiles:
                    self._without_prediction.setdefault(lease.scene_id, []).append(observation.id)
                spent = replace(spent, compute_seconds=outcome.compute_seconds)
                if outcome.of_machine:
                    cause = Cause(Blame.MACHINE)
                    self._outcomes.put_back(scene, observation, outcome.reason, cause, spent=spent)
                else:
                    self._outcomes.fail(scene, observation, outcome.reason, AttemptOutcome.TILES, spent)
            case _:
                if outcome.tiles:
                    self._without_prediction.clear()
                timings = {"read_at": reading.read_at, "inferred_at": datetime.now(UTC)}
                name = observation.watch.name
                quicklook = quicklooks.write_quicklook(self._settings, name, observation.id, preview, outcome)
                spent = replace(spent, compute_seconds=outcome.compute_seconds)
                self._outcomes.save(scene, observation, outcome, timings, quicklook, spent)

    def _check_segmenter(self) -> None:
        """Run the segmenter on an empty tile: if that fails too, it is broken, and no scene is to blame.

        Raises
        ------
        SegmenterError
            The segmenter fails on an empty tile.
        """
        side = self._segmenter.tile_px
        scenes, self._without_prediction = self._without_prediction, {}
        try:
            self._segmenter.segment(
                [np.zeros((side, side, 3), np.uint8)], [SegmentationRequest("water", ("water",))]
            )
        except Exception as error:
            ids = [one for members in scenes.values() for one in members]
            self._outcomes.transaction(lambda conn: ledger.forgive(conn, ids))
            what = (
                "Mend the segmenter"
                if isinstance(error, SegmenterError)
                else "Check the device (nvidia-smi) and its memory"
            )
            raise SegmenterError(
                f"the segmenter {self._segmenter.version} failed on every tile of {len(scenes)} scene(s), "
                f"and on an empty one with {describe_error(error)}. {what}, then start the run again; "
                "pending work stays queued, and these attempts are not counted"
            ) from error

    @contextmanager
    def _heartbeat(self) -> Iterator[None]:
        """Renew this worker's leases three times per lease time while the block runs."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._settings.lease_seconds / 3):
                try:
                    with self._engine.begin() as conn:
                        ledger.renew(conn, self._worker, self._settings.lease_seconds)
                except DBAPIError as error:
                    # the next beat comes before the leases expire
                    _log.warning("leases could not be renewed, trying again: %s", describe_error(error))

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _find_spent(group: ObservationGroup, reading: StripReader) -> Spent:
    """Share what was read so far between the observations that it was read for."""
    return Spent(bytes_read=reading.received / len(group.observations))


def _group_by_pixels(lease: ledger.SceneLease) -> list[list[ledger.LeasedObservation]]:
    """Group observations that need the same pixels, so that these are read and encoded once."""
    by_view: dict[tuple[Profile, bytes], list[ledger.LeasedObservation]] = defaultdict(list)
    for observation in lease.observations:
        watch = observation.watch
        by_view[watch.profile, watch.area.wkb].append(observation)
    return list(by_view.values())


def _make_group(
    members: list[ledger.LeasedObservation],
    settings: FlowSettings,
    tile_px: int,
    *,
    spectral: bool,
    reviewed: Mapping[str, tuple[ReviewedObject, ...]],
) -> ObservationGroup:
    profile = members[0].watch.profile
    return ObservationGroup(
        tuple(members),
        frozenset(_list_hosts(members, settings)),
        tile_px,
        settings.credentials_for(profile.name),
        spectral,
        reviewed,
    )


def _list_hosts(members: list[ledger.LeasedObservation], settings: FlowSettings) -> Iterator[str]:
    for member in members:
        yield from hrefs.list_readable_hosts(
            member.watch.profile, member.watch.catalog, settings.imagery_hosts
        )
        yield from hrefs.list_url_hosts(member.watch.fallback)


def drain(
    engine: Engine,
    settings: FlowSettings,
    *,
    watch: str | None = None,
    progress: Progress | None = None,
    on_scene: OnScene = _ignore,
) -> DrainCounts:
    """Drain the queue with the model of each watch, one model after another; without work nothing is loaded.

    A model that cannot be loaded leaves the others their work; its error is raised at the end. See :class:`Drain`.
    """
    done, failures = DrainCounts(), list[Exception]()
    with engine.connect() as conn:
        models = watch_models.list_models(conn, settings, watch)
    for version, chosen in models:
        if stopping.stop_requested.is_set():
            break
        with engine.connect() as conn:
            if not has_work_for(conn, settings, version, watch):
                continue
        try:
            segmenter = watch_models.load_model(settings, chosen)
        except Exception as error:  # an operator's module or checkpoint may raise anything
            failures.append(error)
            continue
        done.add(
            Drain(engine, segmenter, settings, watch=watch, progress=progress, on_scene=on_scene).run(
                stopping.stop_requested
            )
        )
    if failures:
        raise failures[0]
    return done
