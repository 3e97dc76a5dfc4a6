"""Run the web application on a port, with a database role that may only read."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from segwatch.db import roles
from segwatch.db.embedded.ports import find_free_port
from segwatch.db.engine import make_engine
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import ServiceError
from segwatch.flows.telemetry import logs
from segwatch.flows.web import gazetteer
from segwatch.flows.web.application import create_app
from segwatch.flows.web.guards import connections
from segwatch.flows.web.options import DEFAULTS, ServerOptions

_NOT_STARTED = 3


def serve(
    database_url: str,
    *,
    host: str,
    port: int,
    options: ServerOptions = DEFAULTS,
    on_started: Callable[[], None] = lambda: None,
) -> None:
    """Run the server until it is stopped.

    Parameters
    ----------
    database_url
        URL of a role that may only read the analyst views; every request reads with its rights.

    on_started
        Called once the server accepts connections.

    Raises
    ------
    MayWrite
        The role may write.
    ServiceError
        Another program uses the port; the message names a free one.
    """
    if load_settings().logs == "json":
        logs.write_json()
    _require_reader(database_url)
    _require_port(host, port)
    proxies = [str(one) for one in options.site.proxies]
    server = connections.make_server(
        create_app(database_url, options), host=host, port=port, proxies=proxies, on_started=on_started
    )
    gazetteer.preload()
    server.run()
    if not server.started:  # the log says why
        raise SystemExit(_NOT_STARTED)


def _require_port(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return
    except socket.gaierror:
        return  # only the server itself can resolve this name
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ServiceError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
    raise ServiceError(
        f"port {port} is taken by another program; choose another: --port {find_free_port()} is free"
    )


def _require_reader(database_url: str) -> None:
    engine = make_engine(database_url, application_name="segwatch-web")
    try:
        with engine.connect() as conn:
            roles.require_reader(conn)
    finally:
        engine.dispose()
