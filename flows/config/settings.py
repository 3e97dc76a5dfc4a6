"""Settings of the flows, read from ``SEGWATCH_*`` environment variables when asked for, never at import."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from segwatch.flows.config.site_settings import SiteSettings, json_list, json_object
from segwatch.flows.errors import ConfigError
from segwatch.geo.sources.http import egress
from segwatch.geo.sources.http.ip_addresses import Allowed, parse_allowed
from segwatch.geo.text.spelling import about_field

_log = logging.getLogger(__name__)
_HOUR, _DAY, _YEAR_HOURS = 3600.0, 86_400.0, 8760.0


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError("is no folder: nobody knows whose home ~ is here") from error


def _expanded_address(place: str) -> str:
    """Other addresses than those of folders are left as they are."""
    return str(_expanded(Path(place))) if place.startswith("~") else place


_Folder = Annotated[Path, AfterValidator(_expanded)]


class FlowSettings(SiteSettings):
    """What a worker or a command line needs to know about its surroundings."""

    model_config = SettingsConfigDict(
        env_prefix="SEGWATCH_", extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    home: _Folder = Field(
        Path(".segwatch"),
        description="folder of the embedded services' state",
        examples=["/var/lib/segwatch"],
    )
    database_url: SecretStr | None = Field(None, description="PostgreSQL URL; unset = the embedded cluster")
    analyst_url: SecretStr | None = Field(
        None,
        description="PostgreSQL URL of a role that only reads, for the map; unset = the same database as for all else",
    )
    segmenter: str | None = Field(None, description="module:factory of a segmenter; unset = SegEarth-R2")
    model_path: str | None = Field(
        None, description="folder or hub id of a checkpoint; unset = segearth-r2-tiny"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    memory_gib: float | None = Field(
        None,
        gt=0,
        description="most GPU memory used, weights included; unset = what is free",
        examples=[40],
    )
    compile: bool = Field(
        False, description="compile the model on its first tiles (minutes; needs a C compiler)"
    )
    tile_batch: int = Field(4, ge=1, le=64, description="tiles read and handed to the model together")
    lease_seconds: float = Field(
        120.0,
        ge=0.1,
        le=_DAY,
        description="how long a scene is held without a sign of life",
    )
    stall_seconds: float = Field(
        3600.0,
        ge=1,
        le=_DAY,
        description="how long a batch of tiles or a strip of pixels may take before the worker's process ends as hung",
    )
    segment_wait_seconds: float = Field(
        1800.0,
        ge=1,
        le=_DAY,
        description="how long an observing run waits while no worker of the gpu pool does anything for its watch",
    )
    segment_here: bool = Field(
        False,
        description="an observing run segments in its own process what no worker of the gpu pool takes or ends",
    )
    linger_seconds: float = Field(
        5.0,
        ge=0,
        le=_DAY,
        description="how long an idle segment run waits for more work",
    )
    max_attempts: int = Field(3, ge=1, description="attempts before an observation fails")
    outage_hours: float = Field(
        72.0,
        gt=0,
        le=_YEAR_HOURS,
        description="how long a source that serves others may refuse a scene before that counts as attempts",
    )
    delivery_hours: float = Field(
        72.0,
        gt=0,
        le=_YEAR_HOURS,
        description="how long a message is tried that its channel refuses; one whose channel is out is kept",
    )
    delivery_retry_seconds: float = Field(
        5.0, gt=0, le=_HOUR, description="a delivery's first wait after a failure"
    )
    delivery_timeout_seconds: float = Field(
        10.0, gt=0, le=_HOUR, description="longest wait for a webhook, all of it"
    )
    services: Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(json_object)] = Field(
        default_factory=dict,
        description="notification services by name, as Apprise addresses; a JSON object",
        examples=['{"duty": "mailtos://USER:PASSWORD@example.org"}'],
    )
    allowed_addresses: Annotated[tuple[str, ...], NoDecode, BeforeValidator(json_list)] = Field(
        (),
        description="hosts, addresses and networks that are not public and that webhooks, services, catalogs and feeds "
        "may be at, with ports; a JSON list",
        examples=['["10.1.0.0/16:443", "127.0.0.1:8080", "hooks.example:443"]'],
    )
    credentials: Annotated[dict[str, dict[str, SecretStr]], NoDecode, BeforeValidator(json_object)] = Field(
        default_factory=dict,
        description="what sources want, by profile: token, username and password, or headers; a JSON object",
        examples=['{"hls-s30": {"token": "TOKEN"}}'],
    )
    imagery_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(json_list)] = Field(
        (),
        description=(
            "hosts with a port, host:8443 or host:* for every port, that imagery may be read from besides those of the "
            "profiles (http on 80, https on 443) and of the catalogs; a JSON list"
        ),
        examples=['["images.example.org:8443"]'],
    )
    evidence: Annotated[str, AfterValidator(_expanded_address)] | None = Field(
        None,
        description=(
            "folder or fsspec address of pictures; unset = evidence in the home folder, with a database_url only if "
            "home is set; none = off"
        ),
        examples=["s3://BUCKET/evidence"],
    )
    review_token: SecretStr | None = Field(
        None, min_length=16, description="who sends it may add reviews over HTTP; unset = nobody"
    )
    feeds: Annotated[tuple[str, ...], NoDecode, BeforeValidator(json_list)] = Field(
        (
            "https://www.gdacs.org/xml/rss.xml",
            "https://earthquake.usgs.gov/earthquakes/feed/v1.0/summary/4.5_day.geojson",
            "https://eonet.gsfc.nasa.gov/api/v3/events/geojson?status=open",
        ),
        description="addresses of event feeds: GDACS, USGS, EONET, GeoRSS or CAP 1.2; a JSON list",
        examples=['["https://www.gdacs.org/xml/rss.xml"]'],
    )
    feed_timeout_seconds: float = Field(
        30.0, gt=0, le=_HOUR, description="longest wait for one feed, all of it"
    )
    source_timeout_seconds: float = Field(
        60.0,
        gt=0,
        le=_HOUR,
        description="longest wait for a catalog while a disaster run chooses its source",
    )
    playbooks: _Folder | None = Field(
        None,
        description="folder of playbooks; unset = those of segwatch",
        examples=["/etc/segwatch/playbooks"],
    )
    event_secret: SecretStr | None = Field(
        None, description="Standard Webhooks secret, whsec_...; who signs with it may send events over HTTP"
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Standard Webhooks secret, whsec_..., that messages are signed with; unset = unsigned",
    )
    retry_seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="how long a scene waits after its first failure; each doubles it, to an hour",
    )

    @field_validator("event_secret", "webhook_secret")
    @classmethod
    def _signs(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not secret.get_secret_value():
            return None  # as templates leave it where there is none
        if secret is not None:
            try:
                key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
            except ValueError:
                key = b""
            if len(key) < 24:
                raise ValueError("is no secret; write whsec_ and at least 24 random bytes in base64")
        return secret

    @field_validator("services")
    @classmethod
    def _named(cls, services: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in services:
            if not _SERVICE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a service; use small letters, digits and hyphens")
        return services

    @field_validator("imagery_hosts")
    @classmethod
    def _origins(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST_AND_PORT.fullmatch(str(host)):
                raise ValueError(f"{host!r} is not a host with a port; write images.example.org:8443")
        return hosts

    @field_validator("feeds")
    @classmethod
    def _addresses(cls, feeds: tuple[str, ...]) -> tuple[str, ...]:
        for feed in feeds:
            parts = urlsplit(feed)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(f"{feed!r} is no address of a feed; write https://HOST/PATH")
        return feeds

    @field_validator("allowed_addresses")
    @classmethod
    def _parsed(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            parse_allowed(one)
        return given

    @property
    def permitted_addresses(self) -> tuple[Allowed, ...]:
        """``allowed_addresses``, parsed."""
        return tuple(parse_allowed(one) for one in self.allowed_addresses)

    @model_validator(mode="after")
    def _segmenter_or_checkpoint(self) -> Self:
        if self.segmenter and self.model_path:
            raise ValueError(
                f"SEGWATCH_SEGMENTER={self.segmenter} and SEGWATCH_MODEL_PATH={self.model_path} exclude each "
                "other; unset one"
            )
        return self

    def credentials_for(self, profile: str) -> dict[str, str]:
        """What the source of a profile wants, in the open."""
        return {name: secret.get_secret_value() for name, secret in self.credentials.get(profile, {}).items()}


_SECRETS = frozenset(
    name for name, given in FlowSettings.model_fields.items() if "SecretStr" in str(given.annotation)
)
#: Values that would do, where a message about a wrong one can show them.
_EXAMPLES = {
    name: given.examples[0] if given.examples else f"{given.default:g}"
    for name, given in FlowSettings.model_fields.items()
    if given.examples or (isinstance(given.default, int | float) and not isinstance(given.default, bool))
}
#: Variables of the settings that are secret.
SECRET_VARIABLES = frozenset(f"SEGWATCH_{name.upper()}" for name in _SECRETS)
_HOST_AND_PORT = re.compile(r"([a-z0-9][a-z0-9.-]*|\[[0-9a-f:.]+\]):(\d{1,5}|\*)")
_SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def load_settings(**given: Any) -> FlowSettings:
    """Settings from the environment; those given take its place.

    Raises
    ------
    ConfigError
        Naming each variable, its value (of secrets only the name) and what is wrong with it.
    """
    from segwatch.flows.config import variables

    variables.warn_once(_log.warning)
    try:
        made = FlowSettings(**given)
        # what is read needs it in places that know no settings
        egress.permit(made.permitted_addresses)
        return made
    except ValidationError as error:
        raise ConfigError(describe(error, prefix="SEGWATCH_", hidden=_SECRETS, examples=_EXAMPLES)) from error


def describe(
    error: ValidationError,
    *,
    prefix: str = "",
    hidden: Collection[str] = (),
    examples: Mapping[str, object] | None = None,
    model: type[BaseModel] | None = None,
) -> str:
    """Every problem of a pydantic error as ``field: message (got value)``, one a line; hidden fields' values not.

    ``examples`` are values by field that would do. With ``model``, fields that it does not have are compared with
    those that it has.
    """
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        field = str(problem["loc"][0]) if problem["loc"] else ""
        where = f"{prefix}{where.upper()}" if prefix else where
        got = problem.get("input")
        shown = f" (got {got!r})" if field not in hidden and isinstance(got, str | int | float | bool) else ""
        instead = f"; write {examples[field]}, say" if examples and field in examples else ""
        lines.append(f"{where or 'value'}: {about_field(problem, model)}{shown}{instead}")
    return "\n".join(lines)
