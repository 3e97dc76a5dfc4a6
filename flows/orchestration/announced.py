"""Start observe runs of watches whose catalogs announced new items; called by every track run."""

from __future__ import annotations

import logging

from prefect.settings import get_current_settings
from sqlalchemy import Engine

from segwatch.db import discovery_requests, runs
from segwatch.db.errors import describe_error
from segwatch.flows.orchestration.resuming import start_observing

_log = logging.getLogger(__name__)
#: Flows whose runs search the catalog of their watch.
_SEARCHING = ("observe", "run", "discover")


def start_announced(engine: Engine) -> list[str]:
    """Start an observe run of each watch that has a request to be searched, at most ten at once.

    The search of the run fulfils the request. A run that never searches loses it after a while, and another one is
    started; after some attempts the watch is left to its schedule. Without a Prefect server requests wait for whoever
    searches next. It never raises: the next call tries again.

    Returns
    -------
    list[str]
        The watches.
    """
    if get_current_settings().api.url is None:
        return []
    try:
        with engine.begin() as conn:
            for name in discovery_requests.give_up(conn):
                _log.warning(
                    "watch %s: its catalog was announced new items, but no search of it succeeded", name
                )
            busy = runs.list_watches(conn, _SEARCHING)
            taken = discovery_requests.take(conn, busy=[name for name in busy if name is not None])
            # within the transaction: what could not be started was not taken
            return start_observing(taken) if taken else []
    except Exception as error:  # whatever it is, tracking goes on
        _log.warning("no run could be started for announced items: %s", describe_error(error))
        return []
