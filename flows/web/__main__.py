"""``SEGWATCH_ANALYST_URL=postgresql://... python -m segwatch.flows.web --port N``: the web server on loopback."""

from __future__ import annotations

import argparse
import os
import sys

from segwatch.db.errors import DbError
from segwatch.flows.config import variables
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import FlowError
from segwatch.flows.runtime.extras import require_extras

_DATABASE, _HOST = "SEGWATCH_ANALYST_URL", "127.0.0.1"


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description="Map and OGC API of the analyst views.")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    variables.warn_once(lambda text: print(text, file=sys.stderr))  # noqa: T201
    database_url = os.environ.get(_DATABASE)
    try:
        require_extras("the web server", "serve")
        if not database_url:
            parser.error(f"set {_DATABASE} to the postgresql:// URL of a role that may read the schema watch")
        from segwatch.flows.web.background import find_background
        from segwatch.flows.web.guards.site import make_site
        from segwatch.flows.web.options import ServerOptions
        from segwatch.flows.web.server import serve

        settings = load_settings()
        options = ServerOptions(
            imagery_hosts=settings.imagery_hosts,
            background=find_background(settings),
            site=make_site(settings, _HOST),
            prefect_url=settings.prefect_ui_url,
        )
        serve(database_url, host=_HOST, port=arguments.port, options=options)
    except (DbError, FlowError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
