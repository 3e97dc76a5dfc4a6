"""Run a watch's deployment on the workers and report its progress until it ends."""

from __future__ import annotations

import time
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import refresh_global_settings_context
from prefect.deployments import run_deployment
from sqlalchemy import Engine

from segwatch.db import analyst, runs
from segwatch.flows.errors import FlowError
from segwatch.flows.orchestration.watch_deployments import SHARED
from segwatch.flows.runtime.progress import EVERY_SECONDS, Say

_RUN_TIMEOUT_SECONDS = 900
_POLL_SECONDS = 1.0


def reload_prefect_settings() -> None:
    """Make Prefect's client in this process use the current environment variables."""
    refresh_global_settings_context()


def run_watch(engine: Engine, watch: str, say: Say) -> None:
    """Run the deployment ``observe/observe`` for one watch and wait until the run has completed.

    Raises
    ------
    FlowError
        The run failed, lost its process, or did not end in time.
    """
    say(f"{watch}: run of the deployment {SHARED}")
    flow_run = cast(FlowRun, run_deployment(SHARED, parameters={"watch": watch}, timeout=0))
    state = _follow(engine, watch, flow_run, say)
    if state is None or not state.is_completed():
        why = state.message if state else f"it did not end within {_RUN_TIMEOUT_SECONDS} s"
        raise FlowError(
            f"the run of watch {watch} did not complete: {why}; see the logs folder of the workers"
        )


def _follow(engine: Engine, watch: str, flow_run: FlowRun, say: Say) -> State[Any] | None:
    """Return the run's final state; meanwhile report every new phase, and at least every few seconds."""
    begun = reported_at = time.monotonic()
    reported = ""
    with get_client(sync_client=True) as client:
        while (now := time.monotonic()) < begun + _RUN_TIMEOUT_SECONDS:
            state = client.read_flow_run(flow_run.id).state
            if state is not None and state.is_final():
                return state
            _require_heartbeat(engine, flow_run)
            phase = _describe_phase(engine, watch, state)
            if phase != reported or now - reported_at >= EVERY_SECONDS:
                say(f"{watch}: {phase} ({now - begun:.0f} s)")
                reported, reported_at = phase, now
            time.sleep(_POLL_SECONDS)
    return None


def _require_heartbeat(engine: Engine, flow_run: FlowRun) -> None:
    """Fail if the run's process is gone; Prefect would show the run as Running for ever."""
    with engine.connect() as conn:
        run = runs.find_by_flow_run(conn, flow_run.id)
    if run is not None and run.lost:
        raise FlowError(f"the {run} has stopped sending heartbeats; see the logs folder of the workers")


def _describe_phase(engine: Engine, watch: str, state: State[Any] | None) -> str:
    """Describe what the run is doing, from Prefect's state and the ledger."""
    if state is None or not state.is_running():
        return "waiting for a worker of the cpu pool to start the run"
    with engine.connect() as conn:
        counts = analyst.count_states(conn, watch)
    if not counts:
        return "searching the catalog"
    known, queued, leased = sum(counts.values()), counts.get("pending", 0), counts.get("leased", 0)
    done = f"{known - queued - leased} of {known} scenes done"
    if leased:
        return f"{done}, {leased} in progress"
    if queued:
        return f"{done}; waiting for a worker of the gpu pool to load the model"
    return f"{done}; tracking, alerts and report"
