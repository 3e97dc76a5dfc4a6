"""Settings of the database."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from segwatch.flows.config.settings.fields import DAY_SECONDS, Folder, Settings


class DatabaseSettings(Settings):
    """Where the ledger is."""

    home: Folder = Field(
        Path(".segwatch"),
        description="folder of the embedded services' state",
        examples=["/var/lib/segwatch"],
    )
    database_url: SecretStr | None = Field(None, description="PostgreSQL URL; unset = the embedded cluster")
    analyst_url: SecretStr | None = Field(
        None,
        description=(
            "PostgreSQL URL of a read-only role for the map and APIs; with a database of your own, required by "
            "segwatch serve"
        ),
    )
    database_wait_seconds: float = Field(
        300.0,
        ge=0,
        le=DAY_SECONDS,
        description="maximum database outage that a run waits out, when it begins and while it works",
    )
