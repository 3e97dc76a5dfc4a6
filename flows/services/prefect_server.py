"""The home's Prefect server with its UI, on 127.0.0.1, for requests that call it by a name of this machine.

    PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD python -m segwatch.flows.services.prefect_server --port N

``prefect server start`` takes every ``Host`` header, and does without credentials where none are set.
"""

from __future__ import annotations

import argparse
import os

import uvicorn

from segwatch.flows.config.settings import load_settings
from segwatch.flows.runtime.hosts import KnownHosts

_AUTH = "PREFECT_SERVER_API_AUTH_STRING"


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description="Prefect server.")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    if not os.environ.get(_AUTH):
        parser.error(f"set {_AUTH} to USER:PASSWORD: who reaches the API decides what the workers run")
    # settings are read while it is imported
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    api = get_current_settings().server.api
    uvicorn.run(
        KnownHosts(create_app(final=True), load_settings().allowed_hosts),
        host="127.0.0.1",
        port=arguments.port,
        timeout_keep_alive=api.keepalive_timeout,
        ws_ping_interval=api.websocket_ping_interval,
        ws_ping_timeout=api.websocket_ping_timeout,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
