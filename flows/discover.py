"""The discover flow: search a watch's catalog and queue an observation for each new scene."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import WatchPaused
from segwatch.flows.inference import watch_models
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.flows.runtime.assemble import open_run_engine


@flow(name="discover", log_prints=False)
def discover(
    watch: str, start: datetime | None = None, end: datetime | None = None
) -> dict[str, Any] | State[dict[str, Any]]:
    """Queue the new scenes of one watch, optionally only those acquired from ``start`` to ``end``.

    A paused watch is not searched: the run ends as Skipped.
    """
    settings = load_settings()
    with open_run_engine(settings) as engine, register_run(engine, settings, "discover", watch=watch):
        version = watch_models.read_version(engine, settings, watch)
        try:
            return asdict(discover_watch(engine, watch, model_version=version, start=start, end=end))
        except WatchPaused as error:
            return Completed(name="Skipped", message=f"did nothing: {error}", data={"paused": str(error)})
