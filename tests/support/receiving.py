"""A webhook receiver that fails now and then, and keeps what it took in order."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.serving import running


@dataclass
class Taken:
    """What a receiver saw."""

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """Bodies in the order in which they were first taken, one for each ``webhook-id``."""
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    requests: int = 0
    paths: list[str] = field(default_factory=list)


@contextmanager
def receiving(
    *, failing: float = 0.0, answers: dict[str, tuple[int, dict[str, str]]] | None = None
) -> Iterator[Taken]:
    """A receiver that fails a share of requests, half of them after it has taken the message.

    ``answers`` gives status and headers for paths that never take anything.
    """
    taken = Taken()
    lock = threading.Lock()
    chance = random.Random(3)  # noqa: S311

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # who sent it was killed, or gave up, in the middle
            with lock:
                taken.requests += 1
                taken.paths.append(self.path)
                status, headers = self._take(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def _take(self, body: bytes) -> tuple[int, dict[str, str]]:
            if answers and self.path in answers:
                return answers[self.path]
            drawn = chance.random()
            if drawn < failing / 2:
                return 503, {}
            identity = self.headers.get("webhook-id", str(taken.requests)) + self.path
            if identity not in taken.ids:
                taken.ids.add(identity)
                taken.messages.append(json.loads(body) | {"path": self.path})
                taken.headers.append({name.lower(): value for name, value in self.headers.items()})
                taken.bodies.append(body)
            return (500 if drawn < failing else 204), {}

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with running(Handler) as url:
        taken.url = url
        yield taken


def deliver_again_and_again(database_url: str, settings: dict[str, Any]) -> None:
    """What a worker does until it is killed."""
    import time

    from segwatch.db.engine import make_engine
    from segwatch.flows.alerting.courier import deliver_outbox
    from segwatch.flows.config.settings import load_settings

    engine = make_engine(database_url)
    while True:
        deliver_outbox(engine, load_settings(**settings))
        time.sleep(0.02)
