"""The trial flow: try the instructions that readers of the map ask for, on a worker of the gpu pool."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from segwatch.flows.config.settings import load_settings
from segwatch.flows.orchestration.heartbeats import make_worker_name, register_run
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.pipeline.trials import run_trials
from segwatch.flows.runtime.assemble import open_run_engine


@flow(name="trial", log_prints=False)
def trial() -> dict[str, Any]:
    """Run the trials that wait, one after another; return the counts. Nothing gets into a series."""
    settings = load_settings()
    with open_run_engine(settings) as engine, register_run(engine, settings, "trial"):
        end_lost_runs(engine)
        return asdict(run_trials(engine, settings, make_worker_name()))
