"""TCP ports on loopback."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import cast

#: Services of a home, in the order of their ports in the home's block.
PLACES = ("web", "prefect", "stac", "imagery", "receiver", "postgres")
#: Below the ephemeral ports of Linux (32768 and up) and the node ports of Kubernetes (30000 and up), so that no
#: outgoing connection takes the port of a stopped service.
_FIRST, _BLOCK, _BLOCKS = 20_000, 10, 600
_TRIES = 40


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def find_free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast(int, probe.getsockname()[1])


def reserve_port() -> socket.socket:
    """Bind a socket to a free port, for a server that takes sockets, so that nobody can take the port in between."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


def list_candidates(home: Path, service: str) -> Iterator[int]:
    """Iterate over ports for a service of a home, best first, always in the same order.

    They are derived from the path of the home, so that two homes rarely collide, even while one of them is stopped.

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


def choose_port(
    home: Path, service: str, *, remembered: int | None = None, lost: Collection[int] = ()
) -> int:
    """Choose the remembered port of a service, else the best one, that is free and not among those ``lost``.

    Another program may still take it before the service listens; then the caller adds it to ``lost`` and tries again.
    """
    wanted = (() if remembered is None else (remembered,), list_candidates(home, service))
    fitting = (port for port in chain(*wanted) if port not in lost and is_free(port))
    return next(fitting, None) or find_free_port()
