"""Real HTTP servers of fixed responses, and of files with byte ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

#: Status, headers and body.
Answer = tuple[int, dict[str, str], bytes]
#: Number of the request and the correct response -> response to send.
Fault = Callable[[int, Answer], Answer]

#: Interval at which a server checks whether to stop.
_POLL_SECONDS = 0.02


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server with this handler on a free port; yields its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving(answers: Mapping[str, Answer], asked: Counter[str] | None = None) -> Iterator[str]:
    """Serve responses by path, ignoring the query, and count requests in ``asked``; yields the server's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if asked is not None:
                asked[path] += 1
            status, headers, body = answers.get(path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with running(Handler) as url:
        yield url


@dataclass
class Files:
    """A server of files with byte ranges."""

    url: str
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    """Path, first and last byte of each request."""

    def bytes_asked(self, path: str) -> int:
        """Total length of the requested ranges of a file."""
        return sum(last - first + 1 for name, first, last in self.asked if name == path)


@contextmanager
def serving_files(
    contents: Mapping[str, bytes], fault: Fault = lambda number, right: right
) -> Iterator[Files]:
    """Serve files by ranges, as object stores do, and fail as the test specifies."""
    files, lock = Files(""), Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = contents[self.path]
            if self.headers["range"] is None:
                self._give(200, {}, content)
                return
            first, last = (int(part) for part in self.headers["range"].removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
            with lock:
                files.asked.append((self.path, first, last))
                number = len(files.asked)
            part = {"content-range": f"bytes {first}-{last}/{len(content)}", "etag": '"one"'}
            self._give(*fault(number, (206, part, content[first : last + 1])))

        def _give(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in ({"content-length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if "content-length" in headers:
                self.close_connection = True  # the fault declares another length than it sends

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with running(Handler) as url:
        files.url = url
        yield files
