"""Settings of the ledger, read from ``SEGWATCH_*`` environment variables when asked for."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class DbSettings(BaseSettings):
    """Where the ledger is."""

    model_config = SettingsConfigDict(env_prefix="SEGWATCH_", extra="ignore")

    database_url: SecretStr | None = Field(None, description="PostgreSQL URL; unset = the embedded cluster")
    home: Path = Field(Path(".segwatch"), description="folder of the embedded cluster's state")
