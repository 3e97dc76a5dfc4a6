"""What the checks judge: the facts of one moment. Times are UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from segwatch.db.health import LedgerHealth
from segwatch.db.stuck import StuckWork
from segwatch.flows.config.variables import UnreadVariable
from segwatch.flows.orchestration.server_facts import PrefectFacts
from segwatch.flows.services.supervisor import Restart


@dataclass(frozen=True, slots=True)
class RootWorker:
    """A worker process that runs as root."""

    pid: int
    service: str | None
    """Its name if it is a service of this home folder."""
    barring: tuple[str, ...] = ()
    """Folders that keep such a service from having a user of its own."""


@dataclass(frozen=True, slots=True)
class HomeServices:
    """The services that the demo started in this home folder."""

    running: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    """Neither running nor stopped by a user."""
    restarts: tuple[Restart, ...] = ()
    logs: Path = Path("logs")
    """Folder of their logs."""


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
    services: HomeServices = field(default_factory=HomeServices)
    ledger_server: str | None = None
    """HOST:PORT of a database server that the operator runs; None = the embedded cluster of the home folder."""

    @property
    def has_home_prefect(self) -> bool:
        """Whether `make demo` starts the Prefect server and its workers."""
        known = (*self.services.running, *self.services.ended)
        return self.prefect is not None and self.prefect.of_home and "prefect" in known
