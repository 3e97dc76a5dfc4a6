"""Host names of the server, trusted proxies, and the users that a proxy names.

Headers of a request are not trusted by themselves. Its ``Host`` must be on a list. ``X-Forwarded-*`` and the header
that names a user count only if they come from a trusted proxy, known by its address and, where configured, a secret.
All of these headers are removed here; the application behind sees one host, scheme and client.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.types import Scope as AsgiScope

from segwatch.db.tokens import Scope, complete_scopes
from segwatch.flows.config.settings.web import WebSettings
from segwatch.flows.errors import ConfigError
from segwatch.flows.runtime.hosts import is_loopback

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SECRET_HEADER = "x-segwatch-proxy-secret"  # noqa: S105 - the header's name
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FORWARDED = ("forwarded", "x-forwarded-", "x-real-ip", "x-original-")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class ProxyUser:
    """Rights of a user whom a proxy names."""

    watches: frozenset[str] | None
    """None = all."""
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Site:
    """Addresses under which the server is reached, and the proxies in front of it."""

    public_url: str = ""
    """Start of all links; empty = the host of the request."""
    hosts: frozenset[str] | None = None
    """Allowed host names, in lower case without port; None = any."""
    proxies: tuple[Network, ...] = ()
    proxy_secret: SecretStr | None = None
    """Secret that a proxy sends in :data:`SECRET_HEADER`; None = its address is enough."""
    user_header: str = ""
    """Header in which a proxy names its user; empty = none."""
    origins: frozenset[str] = frozenset()
    """Origins of web pages that may use the API with a token."""
    users: Mapping[str, ProxyUser] = field(default_factory=lambda: MappingProxyType({}))
    """Rights by user name; ``*`` = every user without an entry."""

    def find_user(self, name: str) -> ProxyUser | None:
        """Find the rights of a user whom the proxy names."""
        return self.users.get(name) or self.users.get("*")


@dataclass(frozen=True, slots=True)
class FilteredRequest:
    """A request after its untrusted headers were removed."""

    scope: AsgiScope
    host_known: bool
    user: str | None
    """Name of the user, from a trusted proxy."""


def filter_request(site: Site, scope: AsgiScope) -> FilteredRequest:
    """Apply the headers of a trusted proxy, and remove those that any other client set."""
    headers = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
    trusted = _is_trusted(site, scope, headers)
    user = _read_single(headers, site.user_header) if trusted and site.user_header else None
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    kept = [(name, value) for name, value in headers if not _is_removed(site, name.decode("latin-1"))]
    seen = {**scope, "headers": kept}
    if trusted:
        _apply_forwarded(seen, headers)
    known = len(hosts) == 1 and _is_known(site, hosts[0], scope)
    if site.public_url:
        _apply_public_url(seen, site.public_url)
    return FilteredRequest(seen, known, user or None)


def _is_trusted(site: Site, scope: AsgiScope, headers: list[tuple[bytes, bytes]]) -> bool:
    peer = scope.get("client")
    if peer is None or not site.proxies:
        return False
    try:
        address = ipaddress.ip_address(peer[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    if not any(address in network for network in site.proxies):
        return False
    if site.proxy_secret is None:
        return True
    given = _read_single(headers, SECRET_HEADER) or ""
    return hmac.compare_digest(given.encode(), site.proxy_secret.get_secret_value().encode())


def _apply_forwarded(seen: AsgiScope, headers: list[tuple[bytes, bytes]]) -> None:
    client = (_read_single(headers, "x-forwarded-for") or "").rpartition(",")[2].strip()
    with contextlib.suppress(ValueError):
        seen["client"] = (str(ipaddress.ip_address(client)), 0)
    scheme = (_read_single(headers, "x-forwarded-proto") or "").lower()
    if scheme in {"http", "https"}:
        seen["scheme"] = scheme


def _read_single(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    """Return the value of a header that occurs once; of several, one may be forged."""
    found = [value.decode("latin-1") for key, value in headers if key == name.lower().encode()]
    return found[0] if len(found) == 1 else None


def _is_removed(site: Site, name: str) -> bool:
    return name.startswith(_FORWARDED) or name in {SECRET_HEADER, site.user_header.lower()}


def _is_known(site: Site, host: str, scope: AsgiScope) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].lower().rstrip(".")
    if site.hosts is None or name in site.hosts:
        return True
    # the server's own address is allowed, because DNS rebinding needs a name
    server = scope.get("server")
    return server is not None and name.strip("[]") == str(server[0])


def _apply_public_url(seen: AsgiScope, public_url: str) -> None:
    parts = urlsplit(public_url)
    headers = [(name, value) for name, value in seen["headers"] if name != b"host"]
    seen["headers"] = [(b"host", parts.netloc.encode()), *headers]
    seen["scheme"] = parts.scheme
    root = parts.path.rstrip("/")
    if root:
        seen["root_path"] = root
        if not seen["path"].startswith(f"{root}/"):
            seen["path"] = root + seen["path"]


def local_path(scope: AsgiScope) -> str:
    """Return the path without the prefix under which the server is mounted."""
    root = scope.get("root_path", "")
    path = str(scope["path"])
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def is_reached_from_elsewhere(settings: WebSettings, host: str) -> bool:
    """Whether other machines reach the server, directly or through a proxy."""
    return not is_loopback(host) or bool(
        settings.public_url or settings.allowed_hosts or settings.trusted_proxies
    )


def make_site(settings: WebSettings, host: str) -> Site:
    """Make the site that the settings describe, for a server that listens at ``host``.

    Raises
    ------
    ConfigError
        A header for users is configured, but no proxy is trusted.
    """
    if settings.proxy_user_header and not settings.trusted_proxies:
        raise ConfigError(
            "SEGWATCH_PROXY_USER_HEADER is set, but no proxy is trusted to send it; set SEGWATCH_TRUSTED_PROXIES to "
            'the proxy\'s address, e.g. ["10.0.0.5"]'
        )
    shown = urlsplit(settings.public_url).hostname or ""
    own = f"[{host}]" if ":" in host and not host.startswith("[") else host
    names = {*LOOPBACK, *settings.allowed_hosts, shown, own.lower()} - {"", "0.0.0.0", "[::]"}  # noqa: S104
    users = {
        name: ProxyUser(
            None if one.watches is None else frozenset(one.watches),
            complete_scopes([Scope(scope) for scope in one.scopes]),
        )
        for name, one in settings.proxy_users.items()
    }
    return Site(
        public_url=settings.public_url,
        hosts=frozenset(names),
        proxies=tuple(ipaddress.ip_network(one, strict=False) for one in settings.trusted_proxies),
        proxy_secret=settings.proxy_secret,
        user_header=settings.proxy_user_header,
        origins=frozenset(settings.cors_origins),
        users=users,
    )
