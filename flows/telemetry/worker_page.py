"""``/metrics`` of a worker's run, on a port of its own for as long as the run lasts."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from segwatch.db.errors import describe_error
from segwatch.flows.config.settings.telemetry import TelemetrySettings
from segwatch.flows.telemetry import metrics

_log = logging.getLogger(__name__)
#: A client that sends nothing keeps its thread no longer.
_CLIENT_SECONDS = 10.0


@contextmanager
def serve_metrics(
    engine: Engine, settings: TelemetrySettings, find_next: metrics.FindNext
) -> Iterator[int | None]:
    """Serve the metrics of this process and of the ledger while the block runs, if the settings name a port.

    Only one run of a machine can have the port; those beside it work without, and the ledger's metrics are the same.

    Yields
    ------
    int | None
        The port; None if nothing is served.
    """
    if settings.metrics_port == 0:
        yield None
        return
    try:
        server = _Server((settings.metrics_host, settings.metrics_port), _make_handler(engine, find_next))
    except OSError as error:
        level = logging.INFO if error.errno == errno.EADDRINUSE else logging.WARNING
        _log.log(level, "no metrics at port %d: %s", settings.metrics_port, error.strerror or error)
        yield None
        return
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def _make_handler(engine: Engine, find_next: metrics.FindNext) -> Callable[..., BaseHTTPRequestHandler]:
    def read() -> metrics.LedgerState:
        with engine.connect() as conn:
            return metrics.read_state(conn)

    readings = metrics.LedgerReadings(read)

    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_SECONDS

        def do_GET(self) -> None:
            """Send the metrics."""
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            page = metrics.render(_read_or_none(readings), find_next, self.headers.get("Accept", ""))
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", page.media_type)
            self.send_header("Content-Length", str(len(page.content)))
            self.end_headers()
            self.wfile.write(page.content)

        def log_message(self, format: str, *args: object) -> None:
            """Log no scrapes."""

    return Handler


def _read_or_none(readings: metrics.LedgerReadings) -> metrics.LedgerState | None:
    try:
        return readings.get()
    except (SQLAlchemyError, OSError) as error:
        _log.warning("metrics without the ledger: %s", describe_error(error))
        return None
