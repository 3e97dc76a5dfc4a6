"""Real HTTP servers of fixed answers, and of files that are read by ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

#: Status, headers and body.
Answer = tuple[int, dict[str, str], bytes]
#: Number of the request and the right answer -> what is sent.
Fault = Callable[[int, Answer], Answer]

#: How soon a server notices that it is to stop.
_POLL_SECONDS = 0.02


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of this handler on a free port; gives its address."""
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
    """Serve answers by path, whatever the query, and count in ``asked``; gives the server's address."""

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
    """Files on a server that gives ranges of them."""

    url: str
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    """Path, first and last byte of each request."""

    def bytes_asked(self, path: str) -> int:
        """Length of all ranges of a file that were asked for."""
        return sum(last - first + 1 for name, first, last in self.asked if name == path)


@contextmanager
def serving_files(
    contents: Mapping[str, bytes], fault: Fault = lambda number, right: right
) -> Iterator[Files]:
    """Serve files by ranges, as object stores do, and fail as a test wants it."""
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
                self.close_connection = True  # the fault says another length than it sends

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with running(Handler) as url:
        files.url = url
        yield files
