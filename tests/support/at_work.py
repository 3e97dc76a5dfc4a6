"""Processes that hold something and do nothing, to be killed or stopped in the middle: ``python -m ... WHAT``.

Each says ``ready`` once it holds what it is to hold. Settings come from the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from tests.support.paths import ROOT


@contextmanager
def process(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process of this module that holds what it is to hold; killed at the end of the block."""
    argv = [sys.executable, "-P", "-m", "tests.support.at_work", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {})
    started = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        assert "ready" in started.stdout.readline()
        yield started
    finally:
        started.kill()
        started.wait()
        assert started.stdout is not None
        started.stdout.close()


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def _hold() -> None:
    _say_ready()
    time.sleep(600)


def observe(watch: str) -> None:
    """Observe a watch."""
    from segwatch.db import watches
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.orchestration.heartbeats import register_run
    from segwatch.flows.runtime.assemble import open_worker_engine

    settings = load_settings()
    with open_worker_engine(settings) as engine:
        with engine.connect() as conn:
            subject = f"observe {watches.load_current(conn, watch).revision_id}"
        with register_run(engine, settings, "observe", watch=watch, subject=subject) as holder:
            assert holder is None
            _hold()


def track(series: str) -> None:
    """Hold a series in the middle of a fold."""
    from segwatch.db.series import try_lock
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime.assemble import open_worker_engine

    with open_worker_engine(load_settings()) as engine, engine.begin() as conn:
        assert try_lock(conn, UUID(series))
        _hold()


def deliver() -> None:
    """Send what is due, to whoever never answers."""
    from segwatch.flows.alerting.courier import deliver_outbox
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime.assemble import open_worker_engine

    settings = load_settings()
    with open_worker_engine(settings) as engine:
        _say_ready()
        deliver_outbox(engine, settings)


def work() -> None:
    """Take the next segment run, as a worker of the gpu pool does, and a scene; then never answer it."""
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    from segwatch.db import ledger, runs
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.inference import segmenters
    from segwatch.flows.orchestration.heartbeats import make_worker_name
    from segwatch.flows.runtime.assemble import open_worker_engine

    settings, taken = load_settings(), None
    _say_ready()
    with get_client(sync_client=True) as client, open_worker_engine(settings) as engine:
        while taken is None:
            time.sleep(0.1)
            deployment = client.read_deployment_by_name("segment/segment").id
            waiting = [
                one
                for one in client.read_flow_runs()
                if one.deployment_id == deployment and one.state is not None and one.state.is_scheduled()
            ]
            taken = waiting[0].id if waiting else None
        client.set_flow_run_state(taken, Running(), force=True)
        with engine.begin() as conn:
            seconds, worker = settings.lease_seconds, make_worker_name()
            runs.begin(conn, flow="segment", worker=worker, seconds=seconds, flow_run_id=taken)
            model = segmenters.get_model_version(settings)
            assert ledger.lease(conn, worker=f"segment-{worker}", seconds=seconds, model_version=model)
    time.sleep(600)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["observe", watch]:
            observe(watch)
        case ["track", series]:
            track(series)
        case ["deliver"]:
            deliver()
        case ["work"]:
            work()
