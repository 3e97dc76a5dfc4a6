"""Flow `prune`: take away what no history needs once it is old."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from typing import Any

from prefect import flow

from segwatch.db import retention
from segwatch.flows.config.settings import load_settings
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.runtime import quicklook_store
from segwatch.flows.runtime.assemble import open_run_engine

_log = logging.getLogger(__name__)


@flow(name="prune", log_prints=False)
def prune() -> dict[str, Any]:
    """Take away what is older than the settings keep it; return the counts of :class:`segwatch.db.retention.Pruned`."""
    settings = load_settings()
    with open_run_engine(settings) as engine, register_run(engine, settings, "prune"):
        end_lost_runs(engine)
        delete = partial(quicklook_store.delete_file, settings)
        done = retention.prune(engine, settings.make_retention(), delete)
        _log.info("pruned: %s", done)
        return asdict(done)
