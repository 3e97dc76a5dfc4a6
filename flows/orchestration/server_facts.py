"""What a Prefect server knows of deployments, runs, work pools and workers at one moment. Times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run that a schedule started."""

    expected_at: datetime
    state: str
    """Prefect's name of the state: Completed, Failed, Running ..."""
    bad: bool
    """The run failed or crashed."""
    message: str


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """A deployment that has a schedule."""

    name: str
    pool: str | None
    on: bool
    """The deployment is not paused and at least one of its schedules is active."""
    changed_at: datetime
    """Time of the last change to its schedules; no run is expected from before it."""
    next_at: datetime | None
    """Start time of the next run that the server has scheduled."""
    late: int
    """Number of due runs that no worker has taken."""
    late_since: datetime | None
    last: LastRun | None


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker that has polled at least once."""

    name: str
    heartbeat_at: datetime | None
    heartbeat_seconds: float
    """Interval at which the worker sends heartbeats."""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A work pool that deployments use."""

    name: str
    paused: bool
    workers: tuple[WorkerFacts, ...]
    settable: tuple[str, ...] = ()
    """Unsafe job settings that the pool's template lets a run override."""


@dataclass(frozen=True, slots=True)
class ApiExposure:
    """Which callers the API of a server accepts although it should not."""

    open: bool = False
    """It answers requests without credentials."""
    any_origin: bool = False
    """Its CORS headers let pages of any site call it."""
    any_host: bool = False
    """It accepts any Host header."""


@dataclass(frozen=True, slots=True)
class PrefectFacts:
    """The Prefect server."""

    url: str
    error: str | None = None
    """Why the server does not answer."""
    names: frozenset[str] = frozenset()
    """Every deployment, as FLOW/NAME."""
    scheduled: tuple[DeploymentFacts, ...] = ()
    pools: tuple[PoolFacts, ...] = ()
    exposure: ApiExposure = ApiExposure()
    failing: bool = False
    """The server answers with errors of its own (HTTP 5xx), as it does while its database is away."""
    of_home: bool = False
    """It is the server of this home folder."""
