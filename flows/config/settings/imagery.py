"""Settings of imagery: what is read, and the quicklooks that are kept."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from segwatch.flows.config.settings.database import DatabaseSettings
from segwatch.flows.config.settings.fields import JsonList, Location, Settings, parse_json_object

_HOST_AND_PORT = re.compile(r"([a-z0-9][a-z0-9.-]*|\[[0-9a-f:.]+\]):(\d{1,5}|\*)")


class ImagerySettings(Settings):
    """Credentials of sources, and hosts that imagery may be read from."""

    credentials: Annotated[dict[str, dict[str, SecretStr]], NoDecode, BeforeValidator(parse_json_object)] = (
        Field(
            default_factory=dict,
            description=(
                "credentials of sources by profile: token, username and password, headers, or, for the access method "
                "s3, access_key_id, secret_access_key and session_token; a JSON object"
            ),
            examples=['{"hls-s30": {"token": "TOKEN"}}'],
        )
    )
    imagery_hosts: JsonList = Field(
        (),
        description=(
            "additional hosts with a port, host:8443 or host:* for every port, that imagery may be read from; those of "
            "the profiles (http on 80, https on 443) and of the catalogs are always allowed; a JSON list"
        ),
        examples=['["images.example.org:8443"]'],
    )

    @field_validator("imagery_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST_AND_PORT.fullmatch(str(host)):
                raise ValueError(f"{host!r} is not a host with a port; write images.example.org:8443")
        return hosts

    def credentials_for(self, profile: str) -> dict[str, str]:
        """Credentials for the source of a profile, in plain text."""
        return {name: secret.get_secret_value() for name, secret in self.credentials.get(profile, {}).items()}


class QuicklookSettings(DatabaseSettings):
    """Where quicklooks and briefings are stored."""

    evidence: Location | None = Field(
        None,
        description=(
            "folder or fsspec URL of quicklooks and briefings; unset = folder evidence in the home folder "
            "(with a database_url, only if home is set); none = off"
        ),
        examples=["s3://BUCKET/evidence"],
    )
