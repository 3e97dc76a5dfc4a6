"""End runs in Prefect whose process is gone: nobody else does, and they would be Running there for ever."""

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
from segwatch.db.errors import words

_log = logging.getLogger(__name__)


def end_lost(engine: Engine) -> list[str]:
    """Mark as Crashed every run of ours that the ledger has not heard of for longer than its lease; what these were.

    Ended runs give back their place in the pool and in the limits of their deployments. It never fails: what could not
    be told to Prefect now is told by the next run.
    """
    done: list[str] = []
    try:
        with engine.begin() as conn:
            found = runs.end_lost(conn)
        if not found or get_current_settings().api.url is None:
            return done
        with get_client(sync_client=True) as client:
            for run in found:
                crash(client, run)
                with engine.begin() as conn:
                    runs.reported(conn, run.id)
                done.append(str(run))
    except (DBAPIError, httpx.HTTPError, PrefectException) as error:
        _log.warning("Prefect could not be told of lost runs, the next run tells it: %s", words(error))
    return done


def crash(client: SyncPrefectClient, run: runs.Run) -> None:
    """Mark the Prefect run of a lost run as Crashed, unless it has ended there."""
    if run.flow_run_id is None:
        return
    try:
        state = client.read_flow_run(run.flow_run_id).state
    except ObjectNotFound:
        return
    if state is not None and state.is_final():
        return
    reason = f"lost: the ledger has heard nothing of the {run}; its process died, or was stopped, or cannot reach it"
    _log.warning("%s", reason)
    client.set_flow_run_state(run.flow_run_id, Crashed(message=reason), force=True)
