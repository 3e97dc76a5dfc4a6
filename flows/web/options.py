"""Options of the web server: who may write, and how it is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from segwatch.flows.web.announcements import AnnouncementIntake
from segwatch.flows.web.background import Background
from segwatch.flows.web.events import EventIntake
from segwatch.flows.web.guards.site import Site
from segwatch.flows.web.operations import OperationIntake
from segwatch.flows.web.reviews import ReviewIntake
from segwatch.flows.web.trials import TrialIntake
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials


@dataclass(frozen=True)
class ServerOptions:
    """Options of the web server; by default nobody may write, and everyone who reaches it may read."""

    reviews: ReviewIntake | None = None
    """None = the server takes no reviews and no marks of alerts."""
    operations: OperationIntake | None = None
    """None = the server pauses and retries nothing."""
    trials: TrialIntake | None = None
    """None = the server tries no instructions and saves no watches."""
    prefect_url: str = ""
    """Address of Prefect's own pages, which the operators' page links; empty = unknown."""
    events: EventIntake | None = None
    """None = the server takes no events."""
    announcements: AnnouncementIntake | None = None
    """None = the server takes no announcements of catalogs."""
    credentials: Callable[[str], Credentials] = lambda _: NO_CREDENTIALS
    """Credentials for reading imagery, by name of the profile."""
    imagery_hosts: tuple[str, ...] = ()
    """See :attr:`segwatch.flows.config.settings.FlowSettings.imagery_hosts`."""
    background: Background | None = None
    """None = the map asks no other host for tiles."""
    site: Site = field(default_factory=Site)
    closed: bool = False
    """Whether readers have to identify themselves."""


DEFAULTS = ServerOptions()
