"""Settings of outgoing connections."""

from __future__ import annotations

from pydantic import Field, field_validator

from segwatch.flows.config.settings.fields import JsonList, Settings
from segwatch.geo.sources.http.ip_addresses import AllowedAddress, parse_allowed


class NetworkSettings(Settings):
    """Which addresses that are not public may be connected to."""

    allowed_addresses: JsonList = Field(
        (),
        description="private hosts, IP addresses and networks, with ports, that webhooks, services, catalogs and feeds "
        "may use; a JSON list",
        examples=['["10.1.0.0/16:443", "127.0.0.1:8080", "hooks.example:443"]'],
    )

    @field_validator("allowed_addresses")
    @classmethod
    def _check_addresses(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            parse_allowed(one)
        return given

    @property
    def permitted_addresses(self) -> tuple[AllowedAddress, ...]:
        """``allowed_addresses``, parsed."""
        return tuple(parse_allowed(one) for one in self.allowed_addresses)
