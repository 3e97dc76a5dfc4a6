"""Flow `deliver`: send the messages of the outbox that are due."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import load_settings
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.runtime.assemble import open_run_engine


@flow(name="deliver", log_prints=False)
def deliver() -> dict[str, Any]:
    """Send every message that is due; return the counts of :class:`DeliveryCounts`."""
    settings = load_settings()
    with open_run_engine(settings) as engine, register_run(engine, settings, "deliver"):
        end_lost_runs(engine)
        return asdict(deliver_outbox(engine, settings))
