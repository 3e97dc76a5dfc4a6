"""Raw TCP servers that misbehave in ways no HTTP server would."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Behaviour = Callable[["Connection"], None]


class Connection:
    """A connection after its request was read."""

    def __init__(self, raw: socket.socket, closing: threading.Event) -> None:
        self._raw = raw
        self._closing = closing
        self.sent = 0

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._raw.sendall(data)
        self.sent += len(data)

    def repeat(self, data: bytes, *, every: float = 0.0) -> None:
        """Send bytes repeatedly at this interval until the client disconnects."""
        while not self._closing.wait(every):
            self.send(data)


class Server:
    """URL of a server, its number of connections, and the most bytes sent over one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = 0
        self.asked = 0


@contextmanager
def behaving(behave: Behaviour, path: str = "") -> Iterator[Server]:
    """Run a server with this behaviour; its URL ends with the path."""
    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        made = Server(f"http://127.0.0.1:{server.getsockname()[1]}{path}")

        def serve(raw: socket.socket) -> None:
            connection = Connection(raw, closing)
            # a silent server must still notice that the client is gone
            with raw, suppress(OSError):
                raw.settimeout(10)
                raw.recv(65536)
                behave(connection)
            made.sent = max(made.sent, connection.sent)

        def accept() -> None:
            while not closing.is_set():
                with suppress(TimeoutError):
                    raw, _ = server.accept()
                    made.asked += 1
                    threading.Thread(target=serve, args=(raw,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            closing.set()
            thread.join()


def endless_headers(to: Connection) -> None:
    """Send headers without end, as fast as possible."""
    to.send(b"HTTP/1.1 200 OK\r\n")
    to.repeat(b"x-more: " + b"y" * 1000 + b"\r\n")


def dripping_headers(to: Connection) -> None:
    """Send a header, one character at a time."""
    to.send(b"HTTP/1.1 200 OK\r\nx-slow: ")
    to.repeat(b"y", every=0.1)


def endless_body(to: Connection) -> None:
    """Send a body of unknown length without end, as fast as possible."""
    to.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    to.repeat(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def dripping_body(to: Connection) -> None:
    """Send a body, one character at a time."""
    to.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    to.repeat(b" ", every=0.1)


def no_http(to: Connection) -> None:
    """Speak another protocol."""
    to.send(b"220 mail.example.org ESMTP\r\n")
