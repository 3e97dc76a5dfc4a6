"""HTTP clients that check the IP address of every connection they make.

The clients (httpx and requests) resolve a name once, check every address (see
:mod:`segwatch.geo.sources.http.ip_addresses`) and connect to an allowed one, so a second lookup cannot give another
address (DNS rebinding). TLS still verifies the name. Through a proxy set in the environment, the proxy connects and
must do its own checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from functools import cache
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx
import requests
from httpcore._backends.auto import AutoBackend
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError

from segwatch.geo.errors import AddressRefused
from segwatch.geo.sources.http.ip_addresses import PERMITTED, AllowedAddress, IPAddress, explain_refusal

#: Connect timeout of one address while others remain to be tried.
_CONNECT_SECONDS = 5.0
#: Variables that choose the certificates to trust.
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def select_allowed(
    host: str, port: int, found: Iterable[Any], allowed: Sequence[AllowedAddress], *, trusts_literals: bool
) -> list[str]:
    """Select the addresses that may be connected to from the result of ``getaddrinfo``.

    Raises
    ------
    AddressRefused
        No address may be connected to.
    """
    addresses: dict[IPAddress, None] = dict.fromkeys(ip_address(one[4][0].partition("%")[0]) for one in found)
    reasons = {
        one: explain_refusal(host, one, port, allowed, trusts_literals=trusts_literals) for one in addresses
    }
    allowed_addresses = [str(one) for one, reason in reasons.items() if reason is None]
    if not allowed_addresses:
        raise AddressRefused(host, port, next((one for one in reasons.values() if one), "no address"))
    return allowed_addresses


class _Backend(httpcore.NetworkBackend):
    """Connects to allowed addresses, for sources and feeds."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """See the base class."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = select_allowed(host, port, found, PERMITTED, trusts_literals=True)
        while True:
            address = addresses.pop(0)
            limit = _limit(timeout, bool(addresses))
            try:
                return self._inner.connect_tcp(address, port, limit, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not addresses:
                    raise


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    """Connects to allowed addresses, for webhooks."""

    def __init__(self, allowed: Sequence[AllowedAddress]) -> None:
        self._inner = AutoBackend()
        self._allowed = allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See the base class."""
        loop = asyncio.get_running_loop()
        try:
            # a literal address needs no lookup in a thread
            found = _literal(host) or await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = select_allowed(host, port, found, self._allowed, trusts_literals=False)
        while True:
            address = addresses.pop(0)
            limit = _limit(timeout, bool(addresses))
            try:
                return await self._inner.connect_tcp(address, port, limit, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not addresses:
                    raise

    async def sleep(self, seconds: float) -> None:
        """See the base class."""
        await self._inner.sleep(seconds)


def _literal(host: str) -> list[Any]:
    """The part of ``getaddrinfo``'s result that is used, for a literal address; empty for a name."""
    try:
        return [(None, None, None, "", (str(ip_address(host)),))]
    except ValueError:
        return []


def _limit(timeout: float | None, more: bool) -> float | None:
    if not more:
        return timeout
    return _CONNECT_SECONDS if timeout is None else min(timeout, _CONNECT_SECONDS)


def create_client(**given: Any) -> httpx.Client:
    """Create an ``httpx.Client`` for sources and feeds that checks its connections."""
    made = httpx.Client(**{"verify": _get_ssl_context(*map(os.environ.get, _CERTIFICATES))} | given)
    _direct(made)._network_backend = _Backend()
    return made


@cache
def _get_ssl_context(*_certificates: str | None) -> ssl.SSLContext:
    """Return the TLS context of clients, one for the process: each takes 25 ms to load its certificates."""
    return httpx.create_ssl_context()


def create_async_client(allowed: Sequence[AllowedAddress], **given: Any) -> httpx.AsyncClient:
    """Create an ``httpx.AsyncClient`` for webhooks that checks its connections."""
    made = httpx.AsyncClient(**given)
    _direct(made)._network_backend = _AsyncBackend(allowed)
    return made


def _direct(made: httpx.Client | httpx.AsyncClient) -> Any:
    """The pool of connections without a proxy."""
    transport: Any = made._transport
    return transport._pool


class _Checked(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _CheckedTLS(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


def _connected(connection: HTTPConnection) -> socket.socket:
    """Open a socket to an allowed address; errors are urllib3's."""
    host = connection._dns_host
    port = connection.port or 0
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    addresses = select_allowed(host, port, found, PERMITTED, trusts_literals=True)
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return _socket(connection, address)
    connection._dns_host = addresses[-1]
    try:
        return HTTPConnection._new_conn(connection)
    finally:
        connection._dns_host = host


def _socket(connection: HTTPConnection, address: str) -> socket.socket:
    made = socket.create_connection(
        (address, connection.port or 0), _CONNECT_SECONDS, source_address=connection.source_address
    )
    made.settimeout(connection.timeout if isinstance(connection.timeout, int | float) else None)
    for option in connection.socket_options or ():
        made.setsockopt(*option)
    return made


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Checked


class _PoolTLS(HTTPSConnectionPool):
    ConnectionCls = _CheckedTLS


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **given: Any) -> None:
        super().init_poolmanager(*args, **given)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolTLS}


def guard_session(session: requests.Session) -> None:
    """Make a ``requests.Session`` check its connections, except those through a proxy."""
    for prefix in ("http://", "https://"):
        session.mount(prefix, _Adapter())
