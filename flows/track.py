"""The track flow: fold finished observations into their series and publish them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from segwatch.flows.config.settings import load_settings
from segwatch.flows.orchestration.announced import start_announced
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.orchestration.resuming import resume_waiting
from segwatch.flows.orchestration.trial_runs import start_trials
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.flows.runtime.assemble import open_run_engine


@flow(name="track", log_prints=False)
def track() -> dict[str, Any]:
    """Publish every observation that is ready, and start runs for what waits; return the counts.

    Scenes that may be tried again are segmented, watches searched whose catalogs announced new items, and trials run
    that wait.
    """
    settings = load_settings()
    with open_run_engine(settings) as engine, register_run(engine, settings, "track"):
        end_lost_runs(engine)
        # first: a series that cannot be tracked must not keep scenes from being observed
        resumed = resume_waiting(engine, settings)
        announced = start_announced(engine)
        started = {"resumed": resumed, "announced": announced, "trials": start_trials(engine)}
        return asdict(track_ready(engine)) | {name: one for name, one in started.items() if one}
