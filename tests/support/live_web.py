"""The web application on a real socket, as ``segwatch serve`` runs it, and a database that can be lost."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from segwatch.db.embedded.ports import find_free_port
from segwatch.flows.web.guards.connections import make_server


@contextmanager
def live(app: ASGIApp, **limits: Any) -> Iterator[str]:
    """Serve on a free port; gives the address."""
    port = find_free_port()
    server = make_server(app, host="127.0.0.1", port=port, **limits)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 300
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < until
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class Line:
    """A TCP line to a server that a test may cut, or hold without closing it."""

    def __init__(self, host: str, port: int) -> None:
        self._there = host, port
        self._flows, self._ends = Event(), Event()
        self._flows.set()
        self._up = True
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection, and each new one at once."""
        self._up = False
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def hold(self) -> None:
        """Let no byte through."""
        self._flows.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self._up = True
        self._flows.set()

    def close(self) -> None:
        """End for good."""
        self._ends.set()
        self.mend()
        self._socket.close()
        self.cut()

    def _accept(self) -> None:
        while not self._ends.is_set():
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            if not self._up:
                near.close()
                continue
            far = socket.create_connection(self._there)
            self._open += [near, far]
            Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([near, far], [], [])
                self._flows.wait()
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    (far if one is near else near).sendall(data)


@contextmanager
def line_to(url: str) -> Iterator[tuple[Line, str]]:
    """A line to the database of a URL, and the URL by which it is reached through the line."""
    parts = urlsplit(url)
    line = Line(parts.hostname or "", parts.port or 5432)
    try:
        yield line, url.replace(f":{parts.port}/", f":{line.port}/")
    finally:
        line.close()
