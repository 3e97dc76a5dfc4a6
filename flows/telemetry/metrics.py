"""Metrics for Prometheus: the state of the ledger, and what this process has worked on.

What the ledger knows is read at each scrape, from sums and indexes whose cost does not follow the detections, and kept
for some seconds; so restarts lose nothing, and every process that serves the ledger's metrics tells the same.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from segwatch.db import analyst
from segwatch.db.usage import AGE_LIMITS, JUDGED, AttemptOutcome
from segwatch.flows.telemetry.scenes import SceneReport

#: How long what was read from the ledger is served again.
KEPT_SECONDS = 5.0
_MAX_KEPT = 64

Rows = list[dict[str, Any]]
FindNext = Callable[[str, datetime], datetime | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as rules, dashboards and the reference page name it."""

    name: str
    kind: str
    """gauge, counter or histogram; names of counters end in _total."""
    words: str
    labels: tuple[str, ...] = ("watch",)


_MODEL = ("watch", "model")
#: State of one watch -> what it is read from: a column of ``watch.metrics``. Times become seconds since 1970.
_STATE = {
    "pending": Metric("segwatch_scenes_pending", "gauge", "Observations that wait for a worker."),
    "leased": Metric("segwatch_scenes_leased", "gauge", "Observations that workers hold."),
    "expired": Metric("segwatch_leases_expired", "gauge", "Observations held by workers that are gone."),
    "oldest_pending_at": Metric(
        "segwatch_oldest_pending_timestamp_seconds", "gauge", "When the oldest waiting observation was found."
    ),
    "acquired_at": Metric(
        "segwatch_newest_scene_timestamp_seconds", "gauge", "Acquisition time of the newest observed scene."
    ),
    "shift_m": Metric(
        "segwatch_registration_shift_meters",
        "gauge",
        "Shift of the newest observed scene against the others of its series; absent if unknown.",
    ),
    "messages_due": Metric("segwatch_outbox_due", "gauge", "Messages that are due and not delivered."),
    "message_due_since": Metric(
        "segwatch_outbox_due_since_timestamp_seconds", "gauge", "Since when the oldest of them is due."
    ),
    "messages_dead": Metric("segwatch_outbox_dead", "gauge", "Messages that were given up."),
    "run_at": Metric("segwatch_last_run_timestamp_seconds", "gauge", "When the last run of the watch began."),
    "answered_at": Metric(
        "segwatch_catalog_answered_timestamp_seconds", "gauge", "When the catalog last answered a search."
    ),
    "search_failures": Metric(
        "segwatch_catalog_failures", "gauge", "Failed searches of the catalog in a row."
    ),
}
_ACTIVE = Metric(
    "segwatch_watch_active", "gauge", "1 while the watch is active; 0 = paused, archived or ended."
)
_DUE = Metric(
    "segwatch_next_run_timestamp_seconds",
    "gauge",
    "When the schedule wants the first run after the last one; in the past = overdue. Absent without a schedule.",
)
_SATURATED = Metric(
    "segwatch_saturated_share",
    "gauge",
    "Share of this month's finished observations whose rendering was saturated, constant or out of range.",
)
_ATTEMPTS = Metric(
    "segwatch_attempts_total",
    "counter",
    f"Attempts at observations, by outcome: {', '.join(AttemptOutcome)}.",
    (*_MODEL, "outcome"),
)
#: Sums of ``watch.usage`` over the outcomes.
_SUMS = {
    "compute_seconds": Metric(
        "segwatch_compute_seconds_total", "counter", "Time in segmenters (on a GPU worker: GPU time).", _MODEL
    ),
    "bytes_read": Metric("segwatch_bytes_read_total", "counter", "Bytes of imagery read.", _MODEL),
    "area_km2": Metric(
        "segwatch_observed_km2_total", "counter", "Observed ground, square kilometres.", _MODEL
    ),
}
_AGE = Metric(
    "segwatch_scene_age_at_alert_seconds", "histogram", "Time from the acquisition of a scene to its alerts."
)
_UP = Metric("segwatch_ledger_up", "gauge", "1 if the ledger answered this scrape.", ())
_QUERY = Metric("segwatch_ledger_query_seconds", "gauge", "Time that the ledger took for it.", ())
_WORKED = Metric(
    "segwatch_worker_observations_total", "counter", "Attempts of this process, by outcome.", ("outcome",)
)
_SCENE = Metric(
    "segwatch_worker_scene_seconds",
    "histogram",
    "Time from the lease of a scene to its end, of this process.",
    (),
)
LEDGER_METRICS = (*_STATE.values(), _ACTIVE, _DUE, _SATURATED, _ATTEMPTS, *_SUMS.values(), _AGE, _UP, _QUERY)
WORKER_METRICS = (_WORKED, _SCENE)

#: Metrics of this process; counted whether or not they are served.
PROCESS = CollectorRegistry()
ProcessCollector(registry=PROCESS)
PlatformCollector(registry=PROCESS)
_worked = Counter(_WORKED.name, _WORKED.words, _WORKED.labels, registry=PROCESS)
_scene = Histogram(
    _SCENE.name, _SCENE.words, registry=PROCESS, buckets=(1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, math.inf)
)


def count_scene(report: SceneReport) -> None:
    """Count a scene that this process has finished with."""
    _scene.observe(report.seconds)
    for outcome, count in report.outcomes.items():
        _worked.labels(outcome).inc(count)


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the ledger knows about the watches that a reader may read, at one moment."""

    state: Rows
    usage: Rows
    ages: Rows
    seconds: float
    """Time of the queries."""


def read_state(conn: Connection) -> LedgerState:
    """Read the state of the ledger."""
    begun = time.perf_counter()
    state, usage = analyst.list_metrics(conn), analyst.list_usage(conn)
    ages = analyst.list_alert_ages(conn)
    return LedgerState(state, usage, ages, time.perf_counter() - begun)


class LedgerReadings:
    """Reads the ledger at most once in :data:`KEPT_SECONDS` for each kind of reader, however many scrapes come.

    Parameters
    ----------
    read
        Reads the state; raises an error where the ledger is away.
    """

    def __init__(self, read: Callable[[], LedgerState]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[float, LedgerState]] = {}

    def get(self, reader: Hashable = None) -> LedgerState:
        """Return the state for a reader; readers with the same key see the same rows."""
        with self._lock:
            now = time.monotonic()
            found = self._kept.get(reader)
            if found is not None and now < found[0] + KEPT_SECONDS:
                return found[1]
            state = self._read()
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[reader] = time.monotonic(), state
            return state


class LedgerCollector(Collector):
    """Turns the state of the ledger into metrics; None = the ledger did not answer.

    Parameters
    ----------
    find_next
        Next firing of a cron expression after a time, UTC.
    """

    def __init__(self, state: LedgerState | None, find_next: FindNext) -> None:
        self._state = state
        self._find_next = find_next

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        state = self._state
        yield _gauge(_UP, [((), float(state is not None))])
        if state is None:
            return
        yield _gauge(_QUERY, [((), state.seconds)])
        for column, metric in _STATE.items():
            yield _gauge(metric, [((row["watch"],), _to_number(row[column])) for row in state.state])
        yield _gauge(_ACTIVE, [((row["watch"],), float(row["state"] == "active")) for row in state.state])
        yield _gauge(_DUE, [((row["watch"],), self._find_due(row)) for row in state.state])
        yield from _collect_usage(state.usage)
        yield _collect_ages(state.ages)

    def _find_due(self, row: dict[str, Any]) -> float | None:
        if row["schedule"] is None or row["state"] != "active" or row["run_at"] is None:
            return None
        try:
            return _to_number(self._find_next(row["schedule"], row["run_at"]))
        except (ValueError, ArithmeticError):
            return None  # the doctor reports schedules that cannot be read


def _collect_usage(usage: Rows) -> Iterator[Any]:
    attempts: dict[tuple[str, ...], float] = defaultdict(float)
    sums: dict[str, dict[tuple[str, ...], float]] = {name: defaultdict(float) for name in _SUMS}
    finished: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    month = datetime.now(UTC).date().replace(day=1)
    for row in usage:
        key = (row["watch"], row["model"])
        attempts[(*key, row["outcome"])] += row["attempts"]
        for name, found in sums.items():
            found[key] += row[name]
        if row["month"] == month and row["outcome"] in JUDGED:
            finished[row["watch"]][0] += row["attempts"]
            finished[row["watch"]][1] += row["attempts"] * (row["outcome"] == AttemptOutcome.SATURATED)
    yield _counter(_ATTEMPTS, attempts)
    for name, metric in _SUMS.items():
        yield _counter(metric, sums[name])
    yield _gauge(_SATURATED, [((watch,), bad / every) for watch, (every, bad) in finished.items()])


def _collect_ages(ages: Rows) -> HistogramMetricFamily:
    family = HistogramMetricFamily(_AGE.name, _AGE.words, labels=_AGE.labels)
    watches: dict[str, dict[float, int]] = defaultdict(dict)
    sums: dict[str, float] = defaultdict(float)
    for row in ages:
        watches[row["watch"]][row["up_to_seconds"]] = row["alerts"]
        sums[row["watch"]] += row["seconds"]
    for watch, found in watches.items():
        total, buckets = 0, []
        for limit in AGE_LIMITS:
            total += found.get(limit, 0)
            buckets.append(("+Inf" if math.isinf(limit) else str(limit), float(total)))
        family.add_metric([watch], buckets, sums[watch])
    return family


def _gauge(metric: Metric, values: list[tuple[tuple[str, ...], float | None]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.words, labels=metric.labels)
    for labels, value in values:
        if value is not None:
            family.add_metric(labels, value)
    return family


def _counter(metric: Metric, values: dict[tuple[str, ...], float]) -> CounterMetricFamily:
    family = CounterMetricFamily(metric.name, metric.words, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _to_number(value: datetime | float | None) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else value


@dataclass(frozen=True, slots=True)
class Page:
    """The text of a scrape."""

    content: bytes
    media_type: str


def render(state: LedgerState | None, find_next: FindNext, accept: str, *, process: bool = True) -> Page:
    """Render the metrics of the ledger, and those of this process, in the format that a scraper accepts."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(state, find_next))
    if process:
        registry.register(PROCESS)
    encode, media_type = choose_encoder(accept)
    return Page(encode(registry), media_type)
