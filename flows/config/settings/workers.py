"""Settings of runs and workers: leases, timeouts, attempts."""

from __future__ import annotations

from pydantic import Field

from segwatch.flows.config.settings.fields import DAY_SECONDS, YEAR_HOURS, Settings


class LeaseSettings(Settings):
    """How long an unrenewed lease lasts."""

    lease_seconds: float = Field(
        120.0,
        ge=0.1,
        le=DAY_SECONDS,
        description="time after which a worker without a heartbeat loses its leases",
    )


class WorkerSettings(LeaseSettings):
    """How workers process observations, and when they give up."""

    tile_batch: int = Field(4, ge=1, le=64, description="tiles read and passed to the model together")
    stall_seconds: float = Field(
        3600.0,
        ge=1,
        le=DAY_SECONDS,
        description="maximum time for one batch of tiles or one window read before the worker exits as hung",
    )
    segment_wait_seconds: float = Field(
        1800.0,
        ge=1,
        le=DAY_SECONDS,
        description="how long an observe run waits while no worker of the gpu pool works on its watch",
    )
    segment_here: bool = Field(
        False,
        description="an observe run segments in its own process what no worker of the gpu pool takes or finishes",
    )
    linger_seconds: float = Field(
        5.0,
        ge=0,
        le=DAY_SECONDS,
        description="how long an idle segment run waits for more work",
    )
    max_attempts: int = Field(3, ge=1, description="attempts before an observation fails")
    retry_seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="back-off of an observation after its first failure; doubles with each failure, up to an hour",
    )
    outage_hours: float = Field(
        72.0,
        gt=0,
        le=YEAR_HOURS,
        description="how long a source that serves other scenes may refuse one before failures count as attempts",
    )
