"""Flow `poll-feeds`: read the event feeds into the ledger."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import FeedError
from segwatch.flows.events.fetch import poll
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.runtime.assemble import open_run_engine


@flow(name="poll-feeds", log_prints=False)
def poll_feeds() -> list[dict[str, Any]]:
    """Poll every feed of the settings; fail only if none could be read."""
    settings = load_settings()
    with open_run_engine(settings) as engine, register_run(engine, settings, "poll-feeds"):
        end_lost_runs(engine)
        results = poll(engine, settings)
    if results and all(one.reason for one in results):
        raise FeedError("no feed could be read: " + "; ".join(f"{one.feed}: {one.reason}" for one in results))
    return [asdict(one) for one in results]
