"""Register runs in the ledger and send their heartbeats."""

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
from segwatch.db.errors import describe_error
from segwatch.flows.config import cadence
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.runtime import stopping
from segwatch.flows.telemetry import logs, tracing, worker_page

_log = logging.getLogger(__name__)

#: Maximum wait after a heartbeat that could not be sent.
_MAX_RETRY_SECONDS = 5.0


def make_worker_name() -> str:
    """Make the name of this process in leases and runs: HOST-PID."""
    return f"{socket.gethostname()}-{os.getpid()}"


def read_flow_run_id() -> UUID | None:
    """Read the id of the Prefect run that executes this code; None outside of one."""
    context = FlowRunContext.get()
    return context.flow_run.id if context is not None and context.flow_run is not None else None


@contextmanager
def register_run(
    engine: Engine, settings: FlowSettings, flow: str, *, watch: str | None = None, subject: str | None = None
) -> Iterator[runs.Run | None]:
    """Register a run for the length of the block and send its heartbeats.

    Parameters
    ----------
    flow
        Name of the flow.
    watch
        Watch that the run works on; None = all.
    subject
        Name of the work that only one run may do at a time; None = no such limit.

    Yields
    ------
    Run | None
        None if this run was registered; otherwise the run that already has the subject.
    """
    if settings.logs == "json":
        logs.write_json()
    seconds = settings.lease_seconds
    with engine.begin() as conn:
        begun = runs.begin(
            conn, flow=flow, worker=make_worker_name(), seconds=seconds, watch=watch, subject=subject,
            flow_run_id=read_flow_run_id(),
        )  # fmt: skip
    if isinstance(begun, runs.Run):
        yield begun
        return
    run_id, outcome = begun, "failed"

    def stop() -> int:
        _end(engine, run_id, "stopped")
        return 0  # a run is not counted as a released lease

    with (
        _heartbeats(engine, run_id, seconds),
        stopping.release_on_stop("runs", stop),
        logs.bound(run=str(run_id), flow=flow, watch=watch),
        worker_page.serve_metrics(engine, settings, cadence.find_next),
    ):
        try:
            with tracing.span(flow, run=str(run_id), watch=watch):
                yield None
            outcome = "completed"
        finally:
            _end(engine, run_id, outcome)
            tracing.flush()


def _end(engine: Engine, run_id: UUID, outcome: str) -> None:
    try:
        with engine.begin() as conn:
            runs.end(conn, run_id, outcome)
    except DBAPIError as error:
        # raising would hide the run's own error; its lease expires anyway
        _log.warning("the end of this run could not be recorded: %s", describe_error(error))


@contextmanager
def _heartbeats(engine: Engine, run_id: UUID, seconds: float) -> Iterator[None]:
    """Send three heartbeats per lease duration while the block runs."""
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
                _log.warning("the heartbeat could not be sent, retrying: %s", describe_error(error))
                continue
            if not held:
                _log.warning("this run sent no heartbeat during its lease and was marked as lost")
                return

    thread = threading.Thread(target=beat, name="run-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
