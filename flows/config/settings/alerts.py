"""Settings of delivery."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from segwatch.flows.config.settings.fields import HOUR_SECONDS, YEAR_HOURS, SigningSecret, parse_json_object
from segwatch.flows.config.settings.network import NetworkSettings
from segwatch.flows.config.settings.workers import LeaseSettings

_SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class AlertSettings(LeaseSettings, NetworkSettings):
    """How messages are sent and retried, and the notification services that rules may name."""

    delivery_hours: float = Field(
        72.0,
        gt=0,
        le=YEAR_HOURS,
        description="how long a refused message is retried; messages wait while the channel is down",
    )
    delivery_retry_seconds: float = Field(
        5.0,
        gt=0,
        le=HOUR_SECONDS,
        description="back-off of a message after its first failure; doubles with each",
    )
    delivery_timeout_seconds: float = Field(
        10.0, gt=0, le=HOUR_SECONDS, description="timeout of one webhook request as a whole"
    )
    services: Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(parse_json_object)] = Field(
        default_factory=dict,
        description="notification services by name, as Apprise URLs; a JSON object",
        examples=['{"duty": "mailtos://USER:PASSWORD@example.org"}'],
    )
    webhook_secret: SigningSecret = Field(
        None,
        description="Standard Webhooks secret, whsec_..., that messages are signed with; unset = unsigned",
    )

    @field_validator("services")
    @classmethod
    def _check_names(cls, services: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in services:
            if not _SERVICE_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not a valid service name; use small letters, digits and hyphens"
                )
        return services
