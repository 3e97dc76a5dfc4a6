"""The demonstration: the whole system with real parts, on real imagery, on one machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.context import refresh_global_settings_context
from prefect.deployments import run_deployment
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import Engine

from segwatch.db import watches
from segwatch.db.engine import make_engine
from segwatch.flows import deploy, reports, watchfile
from segwatch.flows.errors import ConfigError, FlowError
from segwatch.flows.services.stack import Stack

Say = Callable[[str], None]
_RUN_TIMEOUT_SECONDS = 900


def run(home: Path, folder: Path, *, say: Say, out: Console) -> None:
    """Bring everything up, run the main job for the demo's watches, print what was found.

    Raises
    ------
    ConfigError, FlowError, ServiceError, segwatch.db.errors.DbError
        With what to do about it.
    """
    if not (folder / "watches").is_dir():
        raise ConfigError(f"{folder}/watches does not exist; run from the repository's root or give --folder")
    started = time.monotonic()
    stack = Stack(home, say=say)
    out.print("[bold]1. Services[/bold]")
    _bring_up(stack, folder)
    engine = make_engine(stack.cluster.info().url_for("segwatch_worker"))
    before = reports.summary(engine)
    out.print("[bold]2. Watches[/bold]")
    names = _apply(engine, folder / "watches", say)
    out.print("[bold]3. The main job, on the cpu and gpu pools[/bold]")
    for name in names:
        _run(name, say)
    stack.up_web()
    after = reports.summary(engine)
    engine.dispose()
    _print(out, after)
    if before == after:
        out.print("Nothing changed since the last run: every scene found was already observed.")
    else:
        out.print(f"{_answered(after) - _answered(before)} scene(s) newly answered.")
    out.print(
        f"\nLook at it:  {' '.join(_quoted(stack.cluster.psql_argv()))} -c 'TABLE watch.objects_now LIMIT 5'"
    )
    out.print(f"The map:     {stack.urls().web}/")
    out.print("End it:      make stop   (make clean also removes its state)")
    out.print(f"Took {time.monotonic() - started:.0f} s.")


def _bring_up(stack: Stack, folder: Path) -> None:
    stack.up_database()
    stack.up_catalog(folder / "imagery", folder / "stac")
    stack.up_receiver()
    stack.up_prefect()
    # this process talks to the same server, with the same settings, as the workers
    os.environ.update(stack.environment())
    refresh_global_settings_context()
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


def _run(watch: str, say: Say) -> None:
    say(f"{watch}: deployment run observe/observe")
    flow_run = run_deployment(
        "observe/observe", parameters={"watch": watch}, timeout=_RUN_TIMEOUT_SECONDS, poll_interval=1
    )
    state = getattr(flow_run, "state", None)
    if state is None or not state.is_completed():
        why = state.message if state else f"it did not end within {_RUN_TIMEOUT_SECONDS} s"
        raise FlowError(
            f"the run of watch {watch} did not complete: {why}; see the logs folder of the workers"
        )


def _print(out: Console, rows: list[dict[str, Any]]) -> None:
    names = Column("watch", min_width=max((len(row["watch"]) for row in rows), default=0))
    scenes = ("observed", "skipped", "failed", "waiting", "rejected")
    table = Table(names, *scenes, "objects", "ha", "changes", "alerts", box=None)
    for row in rows:
        counts = [str(row[name]) for name in (*scenes, "objects")]
        alerts = f"{row['alerts']} ({row['delivered']} sent)"
        table.add_row(row["watch"], *counts, f"{row['hectares']:.1f}", str(row["changes"]), alerts)
    out.print(table)


def _quoted(argv: list[str]) -> list[str]:
    return [f"'{part}'" if " " in part else part for part in argv]
