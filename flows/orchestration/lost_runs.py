"""Mark runs in Prefect as Crashed whose process is gone; otherwise they would stay Running for ever."""

from __future__ import annotations

import logging

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import get_current_settings
from prefect.states import Crashed
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import runs
from segwatch.db.errors import describe_error

_log = logging.getLogger(__name__)


def end_lost_runs(engine: Engine) -> list[str]:
    """Mark every run as Crashed whose lease has expired without a heartbeat; return descriptions of these runs.

    This frees their places in work pools and concurrency limits. It never raises: runs that cannot be reported to
    Prefect now are reported by the next run.
    """
    done: list[str] = []
    try:
        with engine.begin() as conn:
            found = runs.end_lost(conn)
        if not found or get_current_settings().api.url is None:
            return done
        with get_client(sync_client=True) as client:
            for run in found:
                mark_crashed(client, run)
                with engine.begin() as conn:
                    runs.mark_reported(conn, run.id)
                done.append(str(run))
    except (DBAPIError, httpx.HTTPError, PrefectException) as error:
        _log.warning(
            "lost runs could not be reported to Prefect, the next run retries: %s", describe_error(error)
        )
    return done


def mark_crashed(client: SyncPrefectClient, run: runs.Run) -> None:
    """Mark the Prefect run of a lost run as Crashed, unless it has already ended."""
    if run.flow_run_id is None:
        return
    try:
        state = client.read_flow_run(run.flow_run_id).state
    except ObjectNotFound:
        return
    if state is not None and state.is_final():
        return
    reason = f"lost: the {run} sends no heartbeats; its process died, was stopped, or cannot reach the ledger"
    _log.warning("%s", reason)
    client.set_flow_run_state(run.flow_run_id, Crashed(message=reason), force=True)
