"""The demonstration: the whole system with real parts, on real imagery, on one machine."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import refresh_global_settings_context
from prefect.deployments import run_deployment
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import Engine

from segwatch.db import analyst, runs, watches
from segwatch.db.engine import make_engine
from segwatch.flows.config import watchfile
from segwatch.flows.errors import ConfigError, FlowError
from segwatch.flows.orchestration import deploy
from segwatch.flows.services import environment, secrets
from segwatch.flows.services.progress import EVERY_SECONDS, Say, print_table, step
from segwatch.flows.services.stack import Stack

_OBSERVE = "observe/observe"
_RUN_TIMEOUT_SECONDS = 900
_POLL_SECONDS = 1.0
#: What a shell may have set for another system; the demo has its own.
_OTHER_SYSTEM = (
    "SEGWATCH_DATABASE_URL",
    "SEGWATCH_ANALYST_URL",
    "PREFECT_API_URL",
    "PREFECT_API_KEY",
    "PREFECT_PROFILE",
)


def run(home: Path, folder: Path, *, say: Say, out: Console) -> None:
    """Bring everything up, run the main job for the demo's watches, print what was found and what to do next.

    Raises
    ------
    ConfigError, FlowError, ServiceError, segwatch.db.errors.DbError
        With what to do about it.
    """
    if not (folder / "watches").is_dir():
        raise ConfigError(f"{folder}/watches does not exist; run from the repository's root or give --folder")
    started = time.monotonic()
    ours = environment.of_running(home)
    for name in _OTHER_SYSTEM:
        if os.environ.pop(name, None) not in {None, "", ours.get(name)}:
            say(
                f"{name} is set here: the demo has its own database and Prefect server, and leaves yours alone"
            )
    stack = Stack(home, say=say)
    with stack.exclusive():
        out.print("[bold]1. Services[/bold]")
        _bring_up(stack, folder, say)
        engine = make_engine(stack.cluster.info().url_for("segwatch_worker"))
        before = _summarize(engine)
        out.print("[bold]2. Watches[/bold]")
        names = _apply(engine, folder / "watches", say)
        out.print("[bold]3. The main job, on the cpu and gpu pools[/bold]")
        for name in names:
            _run(engine, name, say)
        stack.up_web()
        after = _summarize(engine)
        engine.dispose()
    _print(out, after)
    if before == after:
        out.print("Nothing changed since the last run: every scene found was already observed.")
    else:
        out.print(f"{_answered(after) - _answered(before)} scene(s) newly answered.")
    out.print(f"Took {time.monotonic() - started:.0f} s.\n")
    _print_next(out, stack)


def _summarize(engine: Engine) -> analyst.Rows:
    with engine.connect() as conn:
        return analyst.summarize_watches(conn)


def _print_next(out: Console, stack: Stack) -> None:
    urls = stack.urls()
    home = (
        ""
        if stack.home == Path(".segwatch").absolute()
        else f"export SEGWATCH_HOME={shlex.quote(str(stack.home))}; "
    )
    for what, where in (
        ("The map", f"{urls.web}/"),
        (
            "Prefect's UI",
            f"{urls.prefect}/   (its password: cat {shlex.quote(str(stack.home / secrets.PREFECT))})",
        ),
        (
            "The tables",
            f"{home}segwatch db psql -- -c 'TABLE watch.objects_now LIMIT 5'   (after . .venv/bin/activate)",
        ),
        ("Go on", "the commands of README.md, from the top; segwatch finds what runs here by itself"),
        ("End it", "make stop keeps the data, make clean removes it"),
    ):
        out.print(f"{what + ':':14}{where}", markup=False)


def _bring_up(stack: Stack, folder: Path, say: Say) -> None:
    stack.up_database()
    stack.up_catalog(folder / "imagery", folder / "stac")
    stack.up_receiver()
    stack.up_prefect()
    # this process talks to the same server, with the same settings, as the workers
    os.environ.update(stack.environment())
    refresh_global_settings_context()
    with step(say, "work pools and deployments"):
        deploy.deploy(deploy.deployments_folder())
    stack.up_workers()


def _apply(engine: Engine, folder: Path, say: Say) -> list[str]:
    loaded = list(watchfile.load_all(folder))
    with engine.begin() as conn:
        for watch in loaded:
            done = watches.apply(conn, watch)
            say(f"{watch.name}: {'new revision' if done.created else 'unchanged'}")
    deploy.schedule(loaded)
    return [watch.name for watch in loaded]


def _answered(rows: list[dict[str, Any]]) -> int:
    return sum(row["observed"] + row["skipped"] + row["failed"] for row in rows)


def _run(engine: Engine, watch: str, say: Say) -> None:
    """Run a watch's deployment on the workers, saying how far it is."""
    say(f"{watch}: run of the deployment {_OBSERVE}")
    flow_run = cast(FlowRun, run_deployment(_OBSERVE, parameters={"watch": watch}, timeout=0))
    state = _followed(engine, watch, flow_run, say)
    if state is None or not state.is_completed():
        why = state.message if state else f"it did not end within {_RUN_TIMEOUT_SECONDS} s"
        raise FlowError(
            f"the run of watch {watch} did not complete: {why}; see the logs folder of the workers"
        )


def _followed(engine: Engine, watch: str, flow_run: FlowRun, say: Say) -> State[Any] | None:
    """The state in which a run ended, after a line whenever something new is known and every few seconds."""
    begun = told_at = time.monotonic()
    told = ""
    with get_client(sync_client=True) as client:
        while (now := time.monotonic()) < begun + _RUN_TIMEOUT_SECONDS:
            state = client.read_flow_run(flow_run.id).state
            if state is not None and state.is_final():
                return state
            _require_life(engine, flow_run)
            phase = _phase(engine, watch, state)
            if phase != told or now - told_at >= EVERY_SECONDS:
                say(f"{watch}: {phase} ({now - begun:.0f} s)")
                told, told_at = phase, now
            time.sleep(_POLL_SECONDS)
    return None


def _require_life(engine: Engine, flow_run: FlowRun) -> None:
    """Make sure that the run's process is not gone; Prefect would show it as Running for ever."""
    with engine.connect() as conn:
        run = runs.of_flow_run(conn, flow_run.id)
    if run is not None and run.lost:
        raise FlowError(f"the {run} sends no heartbeat any more; see the logs folder of the workers")


def _phase(engine: Engine, watch: str, state: State[Any] | None) -> str:
    """What a run that is under way does, as far as Prefect and the ledger can tell."""
    if state is None or not state.is_running():
        return "the cpu pool's worker starts the run"
    with engine.connect() as conn:
        counts = analyst.count_states(conn, watch)
    if not counts:
        return "searching the catalog"
    known, queued, at_work = sum(counts.values()), counts.get("pending", 0), counts.get("leased", 0)
    done = f"{known - queued - at_work} of {known} scenes done"
    if at_work:
        return f"{done}, {at_work} at work"
    if queued:
        return f"{done}; the gpu pool's worker starts and loads the model"
    return f"{done}; tracking, alerts and report"


def _print(out: Console, rows: list[dict[str, Any]]) -> None:
    scenes = ("observed", "skipped", "failed", "waiting", "rejected")
    heads = ("watch", *scenes, "objects", "ha", "changes", "alerts")
    table = Table(*(Column(head, no_wrap=True) for head in heads), box=None)
    for row in rows:
        counts = [str(row[name]) for name in (*scenes, "objects")]
        alerts = f"{row['alerts']} ({row['delivered']} sent)"
        table.add_row(row["watch"], *counts, f"{row['hectares']:.1f}", str(row["changes"]), alerts)
    print_table(out, table, at_least=120)
