"""The demo: the whole system with real parts, on real imagery, on one machine."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import Engine

from segwatch.db import analyst, watches
from segwatch.db.engine import make_engine
from segwatch.flows.config import watchfile
from segwatch.flows.errors import ConfigError
from segwatch.flows.orchestration import deploy, watch_runs
from segwatch.flows.runtime.progress import Say, print_table, step
from segwatch.flows.services import environment, secrets
from segwatch.flows.services.stack import Stack

#: Variables that a shell may have set for another system; the demo uses its own services.
_OTHER_SYSTEM = (
    "SEGWATCH_DATABASE_URL",
    "SEGWATCH_ANALYST_URL",
    "SEGWATCH_STAC_URL",
    "SEGWATCH_RECEIVER_URL",
    "SEGWATCH_WEBHOOK_SECRET",
    "PREFECT_API_URL",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
    "PREFECT_HOME",
    "PREFECT_PROFILE",
)


def run(home: Path, folder: Path, *, say: Say, out: Console) -> None:
    """Start every service, run the main job for the demo's watches, print the results and the next steps.

    Parameters
    ----------
    home
        Folder that keeps the state.
    folder
        Folder with ``watches/``, ``imagery/`` and ``stac/``.

    Raises
    ------
    ConfigError, FlowError, ServiceError, segwatch.db.errors.DbError
        The message says what to do about it.
    """
    if not (folder / "watches").is_dir():
        raise ConfigError(f"{folder}/watches does not exist; run from the repository's root or give --folder")
    started = time.monotonic()
    _ignore_other_systems(home, say)
    stack = Stack(home, say=say)
    with stack.exclusive():
        out.print("[bold]1. Services[/bold]")
        _start_services(stack, folder, say)
        engine = make_engine(stack.cluster.info().url_for("segwatch_worker"))
        before = _summarize(engine)
        out.print("[bold]2. Watches[/bold]")
        names = _apply_watches(engine, folder / "watches", say)
        out.print("[bold]3. The main job, on the cpu and gpu pools[/bold]")
        for name in names:
            watch_runs.run_watch(engine, name, say)
        stack.up_web()
        after = _summarize(engine)
        engine.dispose()
    _print_summary(out, after)
    if before == after:
        out.print("Nothing changed since the last run: every scene found was already observed.")
    else:
        out.print(f"{_count_finished(after) - _count_finished(before)} scene(s) newly processed.")
    out.print(f"Took {time.monotonic() - started:.0f} s.\n")
    _print_next_steps(out, stack)


def _ignore_other_systems(home: Path, say: Say) -> None:
    ours = environment.find_running(home)
    for name in _OTHER_SYSTEM:
        if os.environ.pop(name, None) not in {None, "", ours.get(name)}:
            say(
                f"ignoring {name} from the environment: the demo uses its own services and leaves yours alone"
            )


def _summarize(engine: Engine) -> analyst.Rows:
    with engine.connect() as conn:
        return analyst.summarize_watches(conn)


def _print_next_steps(out: Console, stack: Stack) -> None:
    urls = stack.urls()
    home = (
        ""
        if stack.home == Path(".segwatch").absolute()
        else f"export SEGWATCH_HOME={shlex.quote(str(stack.home))}; "
    )
    for what, where in (
        ("Map", f"{urls.web}/"),
        (
            "Prefect's UI",
            f"{urls.prefect}/   (password: cat {shlex.quote(str(stack.home / secrets.PREFECT))})",
        ),
        (
            "Tables",
            f"{home}segwatch db psql -- -c 'TABLE watch.objects_now LIMIT 5'   (after . .venv/bin/activate)",
        ),
        (
            "Try",
            f"{home}segwatch token create me --all-watches --scope operate && segwatch serve --writing",
        ),
        ("", "then log in with that token at http://127.0.0.1:8080/login: try an instruction, save a watch"),
        ("Next", "try the commands in README.md; segwatch finds the running services by itself"),
        ("Stop", "make stop keeps the data, make clean removes it"),
    ):
        out.print(f"{what + ':' if what else '':14}{where}", markup=False)


def _start_services(stack: Stack, folder: Path, say: Say) -> None:
    stack.up_database()
    stack.up_catalog(folder / "imagery", folder / "stac")
    stack.up_receiver()
    stack.up_prefect()
    # this process uses the same server, with the same settings, as the workers
    os.environ.update(stack.environment())
    watch_runs.reload_prefect_settings()
    with step(say, "work pools and deployments"):
        deploy.deploy_flows(deploy.find_deployments_folder())
    stack.up_workers()


def _apply_watches(engine: Engine, folder: Path, say: Say) -> list[str]:
    loaded = list(watchfile.load_all(folder))
    with engine.begin() as conn:
        for watch in loaded:
            done = watches.apply(conn, watch)
            say(f"{watch.name}: {'new revision' if done.created else 'unchanged'}")
    deploy.schedule_watches(loaded)
    return [watch.name for watch in loaded]


def _count_finished(rows: list[dict[str, Any]]) -> int:
    return sum(row["observed"] + row["skipped"] + row["failed"] for row in rows)


def _print_summary(out: Console, rows: list[dict[str, Any]]) -> None:
    scenes = ("observed", "skipped", "failed", "waiting", "rejected")
    heads = ("watch", *scenes, "objects", "ha", "changes", "alerts")
    table = Table(*(Column(head, no_wrap=True) for head in heads), box=None)
    for row in rows:
        counts = [str(row[name]) for name in (*scenes, "objects")]
        alerts = f"{row['alerts']} ({row['delivered']} sent)"
        table.add_row(row["watch"], *counts, f"{row['hectares']:.1f}", str(row["changes"]), alerts)
    print_table(out, table, at_least=120)
