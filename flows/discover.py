"""The discover flow: search a watch's catalog and queue an observation for each new scene."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from prefect import flow

from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.segmenters import version_of
from segwatch.flows.orchestration.heartbeats import registered
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.flows.runtime.assemble import worker_engine


@flow(name="discover", log_prints=False)
def discover(watch: str, start: datetime | None = None, end: datetime | None = None) -> dict[str, Any]:
    """Queue the new scenes of one watch, optionally only those acquired from ``start`` to ``end``."""
    settings = load_settings()
    with worker_engine(settings) as engine, registered(engine, settings, "discover", watch=watch):
        return asdict(discover_watch(engine, watch, model_version=version_of(settings), start=start, end=end))
