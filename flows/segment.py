"""The segment flow: predict pending instructions on their scenes, on a worker of the gpu pool."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import drain
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.orchestration.scene_artifacts import SceneArtifacts
from segwatch.flows.runtime.assemble import open_run_engine


@flow(name="segment", log_prints=False)
def segment(watch: str | None = None) -> dict[str, Any]:
    """Drain the queue of one watch, or of all watches; return the counts."""
    settings = load_settings()
    with open_run_engine(settings) as engine, register_run(engine, settings, "segment", watch=watch):
        end_lost_runs(engine)
        shown = SceneArtifacts(engine, watch)
        try:
            return asdict(drain(engine, settings, watch=watch, on_scene=shown.add))
        finally:
            shown.end()
