"""Settings of the web server."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from segwatch.flows.config.settings.fields import JsonList, Settings, SigningSecret, parse_json_object

_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)")

_TILES = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?/[^\s\"'<>;]*")


class ProxyUser(BaseModel):
    """Rights of a user whom a trusted proxy names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    watches: tuple[str, ...] | None = None
    """None = all."""
    scopes: tuple[
        Annotated[str, Field(pattern=r"^(read|acknowledge|review|events|announce|operate|metrics)$")], ...
    ] = ("read",)


class WebSettings(Settings):
    """What `segwatch serve` answers to, which proxies it trusts, and who may write."""

    public_url: str = Field(
        "",
        description="URL under which readers reach the map, used in links; unset = the host of each request",
        examples=["https://maps.example.org"],
    )
    allowed_hosts: JsonList = Field(
        (),
        description=(
            "additional host names accepted by the map and the embedded Prefect server, besides loopback names, "
            "--host and the host of SEGWATCH_PUBLIC_URL; a JSON list"
        ),
        examples=['["maps.example.org"]'],
    )
    trusted_proxies: JsonList = Field(
        (),
        description="IP addresses or networks of proxies whose X-Forwarded-* and user header are trusted; a JSON list",
        examples=['["10.0.0.5"]'],
    )
    proxy_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="value that trusted proxies send as X-Segwatch-Proxy-Secret; unset = their address is enough",
    )
    proxy_user_header: str = Field(
        "",
        description="header in which trusted proxies name the user who logged in; unset = none",
        examples=["X-Forwarded-Email"],
    )
    proxy_users: Annotated[dict[str, ProxyUser], NoDecode, BeforeValidator(parse_json_object)] = Field(
        default_factory=dict,
        description=(
            "rights of the users that trusted proxies name; * = every other user; without watches, every watch, and "
            "without scopes, read; a JSON object"
        ),
        examples=['{"ada@example.org": {"watches": ["lakes"], "scopes": ["read", "review"]}}'],
    )
    prefect_ui_url: str = Field(
        "",
        description="address of Prefect's own pages, linked on /operations; unset = PREFECT_API_URL without /api",
        examples=["https://prefect.example.org"],
    )
    map_tiles_url: str = Field(
        "",
        description=(
            "raster tiles (XYZ, web mercator, 256 pixels) that the map shows below the imagery; browsers of readers "
            "then ask that host, and the content policy allows exactly it; unset = nothing from other hosts"
        ),
        examples=["https://tiles.example.org/{z}/{x}/{y}.png"],
    )
    map_tiles_attribution: str = Field(
        "",
        description="whose tiles SEGWATCH_MAP_TILES_URL names, shown below the map",
        examples=["© Example Maps"],
        max_length=300,
    )
    review_token: SecretStr | None = Field(
        None, min_length=16, description="token that allows adding reviews over HTTP; unset = nobody may"
    )
    event_secret: SigningSecret = Field(
        None,
        description="Standard Webhooks secret, whsec_...; events sent over HTTP must be signed with it",
    )

    announcement_secret: SigningSecret = Field(
        None,
        description="Standard Webhooks secret, whsec_...; announcements of catalogs must be signed with it",
    )
    cors_origins: JsonList = Field(
        (),
        description="origins of web pages that may use the API with a token; a JSON list, empty = none",
        examples=['["https://app.example.org"]'],
    )

    @field_validator("public_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
        if url and (not whole or parts.query or parts.fragment):
            raise ValueError("is not the URL of a server; write https://HOST")
        return url.rstrip("/")

    @field_validator("map_tiles_url")
    @classmethod
    def _check_tiles(cls, url: str) -> str:
        if not url:
            return url
        # what stands before the path becomes part of the content policy
        if not _TILES.fullmatch(url) or any(url.count(one) != 1 for one in ("{z}", "{x}", "{y}")):
            raise ValueError("is not the URL of tiles; write https://HOST/.../{z}/{x}/{y}.png")
        return url

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST.fullmatch(host.lower()):
                raise ValueError(
                    f"{host!r} is not a host; write names such as maps.example.org, without scheme or port"
                )
        return tuple(host.lower() for host in hosts)

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for one in origins:
            parts = urlsplit(one)
            if (
                parts.scheme not in {"http", "https"}
                or one != f"{parts.scheme}://{parts.netloc}"
                or "@" in one
            ):
                raise ValueError(
                    f"{one!r} is not an origin; write https://HOST, without a path and without *"
                )
        return tuple(one.lower() for one in origins)

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for one in proxies:
            if ipaddress.ip_network(one, strict=False).prefixlen == 0:
                raise ValueError(f"{one} includes every address; name the proxies")
        return proxies

    @field_validator("proxy_user_header")
    @classmethod
    def _check_header(cls, header: str) -> str:
        if header and not _HEADER.fullmatch(header):
            raise ValueError("is not a valid header name; write, for example, X-Forwarded-Email")
        return header
