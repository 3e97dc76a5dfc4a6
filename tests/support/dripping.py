"""Servers of raw bytes, for answers that no HTTP server would give."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

#: Speaks to one client after its request was read.
Script = Callable[[socket.socket, threading.Event], None]
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def dripping_head(client: socket.socket, over: threading.Event) -> None:
    """Headers, a letter at a time, without end."""
    client.sendall(_HEAD + b"x-more: ")
    while not over.wait(0.05):
        client.sendall(b"x")


def dripping_body(client: socket.socket, over: threading.Event) -> None:
    """A body, a letter at a time."""
    client.sendall(_HEAD + b"content-length: 1000000\r\n\r\n")
    while not over.wait(0.05):
        client.sendall(b" ")


def endless_head(client: socket.socket, over: threading.Event) -> None:
    """Headers, as fast as they are taken."""
    client.sendall(_HEAD)
    while not over.is_set():
        client.sendall(b"x-more: and more\r\n" * 1000)


def endless_body(client: socket.socket, over: threading.Event) -> None:
    """A body of unknown length, as fast as it is taken."""
    client.sendall(_HEAD + b"transfer-encoding: chunked\r\n\r\n")
    block = b"10000\r\n" + b" " * 65536 + b"\r\n"
    while not over.is_set():
        client.sendall(block)


def no_http(client: socket.socket, over: threading.Event) -> None:
    """Something else."""
    client.sendall(b"220 mail.example.org ESMTP\r\n")


@contextmanager
def dripping(script: Script) -> Iterator[str]:
    """A server that follows the script; gives its address."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)

    def talk(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(65536)
            script(client, over)

    def accept() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                client, _ = listener.accept()
                client.settimeout(5)
                threading.Thread(target=talk, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        thread.join()
        listener.close()


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = time.monotonic()
    call()
    return time.monotonic() - begun
