"""Settings of the web server: its names, the proxies in front of it, and the users that they tell."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)")


def _read_json(given: object, kind: type, name: str) -> object:
    """A value of an environment variable that is JSON; others as they are."""
    if not isinstance(given, str):
        return given
    try:
        read = json.loads(given)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, kind):
        raise ValueError(f"is no JSON {name}")
    return read


def json_object(given: object) -> object:
    """An environment variable that is a JSON object, read; what is no text as it is."""
    return _read_json(given, dict, "object")


def json_list(given: object) -> object:
    """As :func:`json_object`, for a JSON list."""
    return _read_json(given, list, "list")


class ProxyUser(BaseModel):
    """What somebody may do whom a proxy names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    watches: tuple[str, ...] | None = None
    """None = all."""
    scopes: tuple[Annotated[str, Field(pattern=r"^(read|review|events)$")], ...] = ("read",)


class SiteSettings(BaseSettings):
    """The part of the settings that `segwatch serve` reads alone."""

    public_url: str = Field(
        "",
        description="address of the map as readers know it, which links begin with; unset = the host that they ask for",
        examples=["https://maps.example.org"],
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(json_list)] = Field(
        (),
        description=(
            "further hosts that the map and the embedded Prefect server answer for, beside loopback names, --host "
            "and the host of SEGWATCH_PUBLIC_URL; a JSON list"
        ),
        examples=['["maps.example.org"]'],
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(json_list)] = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded-* and user header are believed; a JSON list",
        examples=['["10.0.0.5"]'],
    )
    proxy_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="what trusted proxies send as X-Segwatch-Proxy-Secret; unset = their address is enough",
    )
    proxy_user_header: str = Field(
        "",
        description="header in which trusted proxies name who logged in; unset = they name nobody",
        examples=["X-Forwarded-Email"],
    )
    proxy_users: Annotated[dict[str, ProxyUser], NoDecode, BeforeValidator(json_object)] = Field(
        default_factory=dict,
        description="what those may do whom a trusted proxy names; * = whoever is not named; a JSON object",
        examples=['{"ada@example.org": {"watches": ["lakes"], "scopes": ["read", "review"]}}'],
    )

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
        if url and (not whole or parts.query or parts.fragment):
            raise ValueError("is no address of a server; write https://HOST")
        return url.rstrip("/")

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST.fullmatch(host.lower()):
                raise ValueError(
                    f"{host!r} is no host; write names such as maps.example.org, without scheme or port"
                )
        return tuple(host.lower() for host in hosts)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for one in proxies:
            if ipaddress.ip_network(one, strict=False).prefixlen == 0:
                raise ValueError(f"{one} is everyone; name the proxies")
        return proxies

    @field_validator("proxy_user_header")
    @classmethod
    def _is_a_header(cls, header: str) -> str:
        if header and not _HEADER.fullmatch(header):
            raise ValueError("is no name of a header; write, for example, X-Forwarded-Email")
        return header
