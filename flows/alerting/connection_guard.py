"""Restrict the connections of Apprise services with an audit hook.

Apprise's hundred plugins open their own connections, follow redirects and resolve names. Python reports every
connection to audit hooks before it is made. While a thread is guarded, the hook refuses connections to addresses that
are not permitted, local sockets, and programs. Threads that a guarded thread starts are guarded, too. C code that opens
sockets itself escapes the hook; of Apprise's services, only local ones do that.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from segwatch.geo.errors import AddressRefused
from segwatch.geo.sources.http.ip_addresses import AllowedAddress, IPAddress, explain_refusal

_CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_PROGRAMS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork"})
_THREADS = frozenset({"_thread.start_new_thread", "_thread.start_joinable_thread"})
_WATCHED = _CONNECTS | _PROGRAMS | _THREADS
_ATTRIBUTE = "_segwatch_guard"


@dataclass(slots=True)
class Guard:
    """Addresses that a guarded thread may connect to, and the first refusal."""

    allowed: Sequence[AllowedAddress]
    named: Sequence[tuple[IPAddress, AllowedAddress]] = ()
    """Resolved addresses of hosts allowed by name, and of the proxies of the environment."""
    refused: str = ""
    """Reason of the first refusal; empty if there was none."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, address: object) -> None:
        """Raise AddressRefused unless the socket address may be connected to."""
        if not isinstance(address, tuple) or len(address) < 2:
            raise self._refuse("this machine", 0, "messages may not use local sockets")
        host, port = str(address[0]), int(address[1])
        try:
            found = ip_address(host.partition("%")[0])
        except ValueError:
            raise self._refuse(host, port, f"{host} is resolved where that cannot be checked") from None
        if any(found == address and one.matches(one.host, found, port) for address, one in self.named):
            return
        reason = explain_refusal(host, found, port, self.allowed)
        if reason is not None:
            raise self._refuse(host, port, reason)

    def _refuse(self, host: str, port: int, reason: str) -> AddressRefused:
        with self._lock:
            self.refused = self.refused or reason
        return AddressRefused(host, port, reason)

    def check_program(self) -> None:
        """Raise AddressRefused: services may not start programs."""
        raise self._refuse("this machine", 0, "messages may not start programs")


@contextmanager
def guarding(allowed: Sequence[AllowedAddress]) -> Iterator[Guard]:
    """Check the connections that this thread, and threads it starts, open in the block."""
    _install()
    guard = Guard(allowed, _resolve_named(allowed))
    thread = threading.current_thread()
    setattr(thread, _ATTRIBUTE, guard)
    try:
        yield guard
    finally:
        delattr(thread, _ATTRIBUTE)


def _resolve_named(allowed: Sequence[AllowedAddress]) -> list[tuple[IPAddress, AllowedAddress]]:
    """Resolve the hosts that are allowed by name, before a service can resolve them differently."""
    proxies = [
        AllowedAddress(urlsplit(one).hostname or "") for name, one in getproxies().items() if name != "no"
    ]
    found: list[tuple[IPAddress, AllowedAddress]] = []
    for rule in (*proxies, *allowed):
        if not rule.host:
            continue
        with suppress(OSError, ValueError):
            found += [(ip_address(one[4][0]), rule) for one in socket.getaddrinfo(rule.host, None)]
    return found


@cache
def _install() -> None:
    """Install the hook once: Python cannot remove audit hooks."""
    sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in _WATCHED:
        return
    guard = getattr(threading.current_thread(), _ATTRIBUTE, None)
    if guard is None:
        return
    if event in _CONNECTS:
        if args[1] is not None:
            guard.check(args[1])
    elif event in _PROGRAMS:
        guard.check_program()
    else:
        started = getattr(args[0], "__self__", None)
        if isinstance(started, threading.Thread):
            setattr(started, _ATTRIBUTE, guard)
