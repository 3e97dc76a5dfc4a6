"""Flow `poll-feeds`: read the event feeds into the ledger."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import FeedError
from segwatch.flows.events.fetch import poll
from segwatch.flows.orchestration.heartbeats import registered
from segwatch.flows.orchestration.lost_runs import end_lost
from segwatch.flows.runtime.assemble import worker_engine


@flow(name="poll-feeds", log_prints=False)
def poll_feeds() -> list[dict[str, Any]]:
    """Poll every feed of the settings; fail only if none could be read."""
    settings = load_settings()
    with worker_engine(settings) as engine, registered(engine, settings, "poll-feeds"):
        end_lost(engine)
        results = poll(engine, settings)
    if results and all(one.reason for one in results):
        raise FeedError("no feed could be read: " + "; ".join(f"{one.feed}: {one.reason}" for one in results))
    return [asdict(one) for one in results]
