"""What the checks judge: facts of one moment, gathered elsewhere. Times are UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from segwatch.db.health import LedgerHealth
from segwatch.db.stuck import StuckWork
from segwatch.flows.config.variables import Unread


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run that a schedule started."""

    expected_at: datetime
    state: str
    """As Prefect names it: Completed, Failed, Running ..."""
    bad: bool
    """It failed or crashed."""
    message: str


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """A deployment that has a schedule."""

    name: str
    pool: str | None
    on: bool
    """It is not paused, and one of its schedules is switched on."""
    changed_at: datetime
    """When its schedules were last changed; before that, nothing could come of them."""
    next_at: datetime | None
    """The next run that the server has made for it."""
    late: int
    """Runs that are due and that no worker has taken."""
    late_since: datetime | None
    last: LastRun | None


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker that polled once."""

    name: str
    heartbeat_at: datetime | None
    heartbeat_seconds: float
    """How often it should be heard of."""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A work pool that deployments use."""

    name: str
    paused: bool
    workers: tuple[WorkerFacts, ...]
    settable: tuple[str, ...] = ()
    """What a run may decide and should not, by the pool's template."""


@dataclass(frozen=True, slots=True)
class Door:
    """How an API answers those that it should not."""

    open: bool = False
    """It answers without credentials."""
    any_origin: bool = False
    """Pages of any site may call it."""
    any_host: bool = False
    """It takes any Host header."""


@dataclass(frozen=True, slots=True)
class RootWorker:
    """A worker's process that runs as root."""

    pid: int
    service: str | None
    """Its name where it is a service of the home."""


@dataclass(frozen=True, slots=True)
class PrefectFacts:
    """The Prefect server."""

    url: str
    error: str | None = None
    """Why it does not answer."""
    names: frozenset[str] = frozenset()
    """Every deployment, as FLOW/NAME."""
    scheduled: tuple[DeploymentFacts, ...] = ()
    pools: tuple[PoolFacts, ...] = ()
    door: Door = Door()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything."""

    now: datetime
    unread: tuple[Unread, ...] = ()
    ledger: LedgerHealth | None = None
    ledger_error: str | None = None
    """Why there is no ledger, or what its schema lacks."""
    prefect: PrefectFacts | None = None
    """None = no server is known here."""
    root_workers: tuple[RootWorker, ...] = ()
    stuck: StuckWork = field(default_factory=StuckWork)
