"""Services of Apprise make their own connections; these are checked where Python makes them.

Apprise knows a hundred ways to connect, which follow redirects and look names up as they like. Python tells of every
connection, before it is made, to an audit hook: while a thread is guarded, the hook refuses those to addresses that may
not be connected to, sockets of this machine, and programs. Threads that a guarded one starts are guarded, too. Code in
C that opens sockets by itself is not seen; none of Apprise's services has any that are not local.
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
from segwatch.geo.sources.http.ip_addresses import Allowed, IPAddress, refusal

_CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_PROGRAMS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork"})
_THREADS = frozenset({"_thread.start_new_thread", "_thread.start_joinable_thread"})
_WATCHED = _CONNECTS | _PROGRAMS | _THREADS
_MARK = "_segwatch_guard"


@dataclass(slots=True)
class Guard:
    """What a guarded thread may connect to, and what it was refused."""

    allowed: Sequence[Allowed]
    named: Sequence[tuple[IPAddress, Allowed]] = ()
    """Addresses of hosts that are allowed by name, and of proxies that the environment names."""
    refused: str = ""
    """The first reason."""
    _told: threading.Lock = field(default_factory=threading.Lock)

    def check(self, address: object) -> None:
        """Refuse a connection that may not be made.

        Raises
        ------
        AddressRefused
            It may not.
        """
        if not isinstance(address, tuple) or len(address) < 2:
            raise self._no("this machine", 0, "sockets of this machine are not for messages")
        host, port = str(address[0]), int(address[1])
        try:
            found = ip_address(host.partition("%")[0])
        except ValueError:
            raise self._no(host, port, f"{host} is looked up where that cannot be checked") from None
        if any(found == address and one.matches(one.host, found, port) for address, one in self.named):
            return
        reason = refusal(host, found, port, self.allowed)
        if reason is not None:
            raise self._no(host, port, reason)

    def _no(self, host: str, port: int, reason: str) -> AddressRefused:
        with self._told:
            self.refused = self.refused or reason
        return AddressRefused(host, port, reason)

    def check_program(self) -> None:
        """Refuse to start a program.

        Raises
        ------
        AddressRefused
            Always.
        """
        raise self._no("this machine", 0, "programs of this machine are not for messages")


@contextmanager
def guarding(allowed: Sequence[Allowed]) -> Iterator[Guard]:
    """Check the connections that this thread, and those it starts, make in the block."""
    _install()
    guard = Guard(allowed, _named(allowed))
    thread = threading.current_thread()
    setattr(thread, _MARK, guard)
    try:
        yield guard
    finally:
        delattr(thread, _MARK)


def _named(allowed: Sequence[Allowed]) -> list[tuple[IPAddress, Allowed]]:
    """Addresses of names, looked up before a service can look them up."""
    proxies = [Allowed(urlsplit(one).hostname or "") for name, one in getproxies().items() if name != "no"]
    found: list[tuple[IPAddress, Allowed]] = []
    for rule in (*proxies, *allowed):
        if not rule.host:
            continue
        with suppress(OSError, ValueError):
            found += [(ip_address(one[4][0]), rule) for one in socket.getaddrinfo(rule.host, None)]
    return found


@cache
def _install() -> None:
    """Once, as hooks stay for the life of the process."""
    sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in _WATCHED:
        return
    guard = getattr(threading.current_thread(), _MARK, None)
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
            setattr(started, _MARK, guard)
