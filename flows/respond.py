"""Flow `respond`: start disaster runs for the events that playbooks match."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.deployments import run_deployment
from sqlalchemy import Engine

from segwatch.db import watches
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import FlowError
from segwatch.flows.events import ingest, playbooks
from segwatch.flows.events.disaster_runs import respond_to_events
from segwatch.flows.events.fetch import poll
from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.runtime.assemble import open_run_engine

_log = logging.getLogger(__name__)
_OBSERVE_DEPLOYMENT = "observe/observe"


@flow(name="respond", log_prints=False)
def respond_flow(document: str | None = None) -> list[dict[str, Any]]:
    """Poll the feeds, respond to the events that playbooks match, and start the runs of new watches.

    Parameters
    ----------
    document
        Read instead of the feeds: the payload of a Prefect event, in any format that a feed may have.

    Raises
    ------
    segwatch.geo.errors.InvalidEvent
        The document is in no known format.
    FlowError
        Some playbooks or events failed; raised after all others were handled.
    """
    settings = load_settings()
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    with open_run_engine(settings) as engine, register_run(engine, settings, "respond"):
        end_lost_runs(engine)
        if document is None:
            poll(engine, settings)
        else:
            # unpaired surrogates, which JSON may have, are no UTF-8: the document is refused as such
            ingest.record_events(engine, document.encode("utf-8", "surrogatepass"), "prefect")
        books, invalid = playbooks.load_each(settings.playbooks)
        failed += invalid
        for outcome in respond_to_events(engine, settings, books):
            if isinstance(outcome, str):
                results.append({"refused": outcome})
                continue
            if isinstance(outcome, FlowError):
                failed.append(str(outcome))
                continue
            made, _ = outcome
            results.append(asdict(made))
            if made.begun:
                try:
                    start_run(engine, made.watch)
                except Exception as error:
                    _log.exception("starting the run of %s failed", made.watch)
                    failed.append(f"{made.event}, watch {made.watch}: {error}")
    if failed:
        raise FlowError("; ".join(failed))
    return results


def start_run(engine: Engine, watch: str) -> None:
    """Start the first run of a watch on the Prefect server of the environment, then schedule the following ones."""
    with deploy.explain_unreachable_server():
        run_deployment(_OBSERVE_DEPLOYMENT, parameters={"watch": watch}, timeout=0)
    with engine.connect() as conn:
        stored = watches.load_current(conn, watch).watch
    deploy.schedule_watches([stored])


def has_server() -> bool:
    """Whether the environment names a Prefect server."""
    return bool(os.environ.get("PREFECT_API_URL"))
