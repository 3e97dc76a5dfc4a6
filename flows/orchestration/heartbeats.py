"""Tell the ledger that a run is at work, for as long as it is."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.context import FlowRunContext
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import runs
from segwatch.db.errors import words
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.runtime import stopping

_log = logging.getLogger(__name__)

#: Once a heartbeat could not be sent, the next one follows soon.
_MAX_RETRY_SECONDS = 5.0


def worker_name() -> str:
    """This process, as leases and runs name it."""
    return f"{socket.gethostname()}-{os.getpid()}"


def flow_run_id() -> UUID | None:
    """Id of the Prefect run that this code is part of."""
    context = FlowRunContext.get()
    return context.flow_run.id if context is not None and context.flow_run is not None else None


@contextmanager
def registered(
    engine: Engine, settings: FlowSettings, flow: str, *, watch: str | None = None, subject: str | None = None
) -> Iterator[runs.Run | None]:
    """Register a run for the length of the block and send its heartbeats.

    Parameters
    ----------
    subject
        What only one run may work on at a time.

    Yields
    ------
    Run | None
        The run that holds the subject: then this one is not registered. None where this one is at work.
    """
    seconds = settings.lease_seconds
    with engine.begin() as conn:
        begun = runs.begin(
            conn, flow=flow, worker=worker_name(), seconds=seconds, watch=watch, subject=subject,
            flow_run_id=flow_run_id(),
        )  # fmt: skip
    if isinstance(begun, runs.Run):
        yield begun
        return
    run_id, outcome = begun, "failed"

    def stop() -> int:
        _end(engine, run_id, "stopped")
        return 0  # nobody waits for a run to be given back

    with _heartbeats(engine, run_id, seconds), stopping.giving_back("runs", stop):
        try:
            yield None
            outcome = "completed"
        finally:
            _end(engine, run_id, outcome)


def _end(engine: Engine, run_id: UUID, outcome: str) -> None:
    try:
        with engine.begin() as conn:
            runs.end(conn, run_id, outcome)
    except DBAPIError as error:
        # what the run ended with must not be hidden by this; its lease expires by itself
        _log.warning("the end of this run could not be recorded: %s", words(error))


@contextmanager
def _heartbeats(engine: Engine, run_id: UUID, seconds: float) -> Iterator[None]:
    """Three heartbeats a lease while the block runs."""
    done = threading.Event()

    def beat() -> None:
        wait = seconds / 3
        while not done.wait(wait):
            wait = seconds / 3
            try:
                with engine.begin() as conn:
                    held = runs.heartbeat(conn, run_id, seconds)
            except DBAPIError as error:
                wait = min(wait, _MAX_RETRY_SECONDS)
                _log.warning("no heartbeat could be sent, trying again: %s", words(error))
                continue
            if not held:
                _log.warning("this run was silent for longer than its lease and was taken for lost")
                return

    thread = threading.Thread(target=beat, name="run-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
