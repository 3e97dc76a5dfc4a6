"""An HTTP proxy that fails the first requests of a path and then passes them on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import httpx

from tests.support.serving import running

_PASSED_ON = ("content-type", "accept", "host")


@contextmanager
def flaky_proxy(
    upstream: str, *, path: str, failures: int, status: int = 500
) -> Iterator[tuple[str, list[int]]]:
    """URL of a proxy in front of ``upstream``, and the status of every response below ``path`` so far."""
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

        def _answer(self) -> None:
            counted = self.path.startswith(path)
            if counted and len(answers) < failures:
                answers.append(status)
                self._send(status, b"{}", "application/json")
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            # keep the proxy's host, so that the catalog's links lead back here
            headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
            got = httpx.request(
                self.command, upstream + self.path, content=body, headers=headers, timeout=120
            )
            if counted:
                answers.append(got.status_code)
            self._send(got.status_code, got.content, got.headers.get("content-type", "application/json"))

        def _send(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with running(Handler) as url:
        yield url, answers
