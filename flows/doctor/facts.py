"""What the checks judge: the facts of one moment. Times are UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from segwatch.db.health import LedgerHealth
from segwatch.db.stuck import StuckWork
from segwatch.flows.config.variables import UnreadVariable
from segwatch.flows.orchestration.server_facts import PrefectFacts


@dataclass(frozen=True, slots=True)
class RootWorker:
    """A worker process that runs as root."""

    pid: int
    service: str | None
    """Its name if it is a service of this home folder."""
    barring: tuple[str, ...] = ()
    """Folders that keep such a service from having a user of its own."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the checks judge."""

    now: datetime
    unread: tuple[UnreadVariable, ...] = ()
    ledger: LedgerHealth | None = None
    ledger_error: str | None = None
    """Why the ledger cannot be read, or what is wrong with its schema."""
    prefect: PrefectFacts | None = None
    """None if no server is configured here."""
    root_workers: tuple[RootWorker, ...] = ()
    stuck: StuckWork = field(default_factory=StuckWork)
