"""Prefect server with its UI on 127.0.0.1, for requests whose ``Host`` header names this machine.

    PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD python -m segwatch.flows.orchestration.prefect_server --port N

``prefect server start`` accepts every ``Host`` header and, where no credentials are set, every caller.
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
        parser.error(
            f"set {_AUTH} to USER:PASSWORD; without it, anyone who reaches the API decides what the workers run"
        )
    # prefect reads its settings while it is imported
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
