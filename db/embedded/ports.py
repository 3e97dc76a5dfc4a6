"""TCP ports on loopback."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import cast

#: Services of a home that listen, by their place in the home's block of ports.
PLACES = ("web", "prefect", "stac", "imagery", "receiver", "postgres")
#: Below the ports that Linux gives to clients (32768 and up) and Kubernetes to services (30000 and up): a port of a
#: stopped service must not serve as the client end of a connection when the service comes back.
_FIRST, _BLOCK, _BLOCKS = 20_000, 10, 600
_TRIES = 40


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def any_free() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast(int, probe.getsockname()[1])


def reserve() -> socket.socket:
    """A socket bound to a port of its own, for a server that takes sockets: nobody can get the port in between."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


def list_candidates(home: Path, service: str) -> Iterator[int]:
    """Ports for a service of a home, best first; the same ones in the same order whenever asked.

    They follow from the home's path. So two homes rarely ask for the same port, also while one of them is stopped, and
    nothing has to be shared between them.

    Parameters
    ----------
    home
        Absolute path of the home folder.
    service
        One of ``PLACES``.
    """
    for attempt in range(_TRIES):
        digest = hashlib.sha256(f"{home} {attempt}".encode()).digest()
        block = int.from_bytes(digest[:8], "big") % _BLOCKS
        yield _FIRST + block * _BLOCK + PLACES.index(service)


def choose(home: Path, service: str, *, remembered: int | None = None, lost: Collection[int] = ()) -> int:
    """The port that a service had, else the best one, that is free now and not among those ``lost``.

    Free now is no promise: the service's own attempt to listen decides, and whoever starts it tries the next port
    should another program have been quicker.
    """
    wanted = (() if remembered is None else (remembered,), list_candidates(home, service))
    fitting = (port for port in chain(*wanted) if port not in lost and is_free(port))
    return next(fitting, None) or any_free()
