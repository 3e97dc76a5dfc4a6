"""``segwatch run|retry|deploy``: do the work of watches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from segwatch.flows.cli.console import (
    Json,
    WatchName,
    clear_errors,
    err,
    open_engine,
    out,
    print_json,
    say,
    stoppable,
    warn,
)
from segwatch.flows.cli.parsing import From, To
from segwatch.flows.runtime.progress import step
from segwatch.geo.text.printable import to_one_line

#: Where nobody looks at a terminal, the progress of a run is said this often.
_SAY_EVERY_SECONDS = 30.0


def run(
    watch: WatchName,
    since: From = None,
    until: To = None,
    as_json: Json = False,
) -> None:
    """Do the whole job for one watch in this process, without a Prefect server or worker.

    Searches the catalog, segments new scenes, tracks changes and sends alerts. What other watches have waiting to be
    tracked or sent is done along with it, and the output says how much. Run it again at any time: finished work is not
    repeated. Ctrl-C ends it at once and releases its scenes for the next run.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.orchestration.in_process import run_in_process
    from segwatch.flows.runtime import assemble

    with clear_errors(), stoppable(), _show_progress(f"{watch}: starting") as show:
        settings = load_settings()
        with assemble.open_run_engine(settings, say) as engine:
            report = run_in_process(
                engine,
                settings,
                watch,
                start=since,
                end=until,
                progress=show,
            )
    if as_json:
        print_json(report)
    else:
        _print_report(report, watch)
    _warn_if_all_rejected(watch)


def _warn_if_all_rejected(name: str) -> None:
    from segwatch.db import health

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        found = next((one for one in health.read_watches(conn) if one.name == name), None)
    if found is not None and found.only_rejected:
        warn(
            f"all {found.only_rejected} item(s) that the watch found were rejected, so it observes nothing; correct "
            "source.profile or source.collection in its file and apply it"
        )


def retry(watch: WatchName, as_json: Json = False) -> None:
    """Queue the failed observations of a watch again.

    The next run takes them up with all attempts available. It also retries scenes that wait for a source whose circuit
    is open.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.inference import watch_models
    from segwatch.flows.pipeline.retrying import requeue_failed
    from segwatch.flows.runtime import assemble

    with clear_errors():
        settings = load_settings()
        with assemble.open_worker_engine(settings) as engine, engine.begin() as conn:
            count = requeue_failed(conn, watch, watch_models.find_version(conn, settings, watch))
    if as_json:
        print_json({"watch": watch, "queued": count})
    else:
        out.print(f"{watch}: {count} failed observation(s) queued again", markup=False)


def deploy(
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder with prefect.yaml and work_pools/; by default those that come with segwatch."
        ),
    ] = None,
    pools: Annotated[
        Literal["process", "docker", "kubernetes"] | None,
        typer.Option(
            help="What workers start for each run: a process, a container or a Kubernetes job. "
            "Default: processes, where a pool does not exist yet."
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Registry and path of the images, such as registry.example.org/segwatch; existing pools take them, "
            "too. Default: localhost/segwatch, as built on this machine.",
        ),
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="Tag of the images. Default: the version of segwatch.")
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE/NAME",
            help="Notification block of the Prefect server that automations send to, such as slack-webhook/operators. "
            "Default: new automations only show that they fired.",
        ),
    ] = None,
) -> None:
    """Create work pools, deployments and the watches' schedules on the Prefect server.

    PREFECT_API_URL names the server. Deploying again keeps what an operator set there: existing pools, their limits,
    and which schedules are active. A pool keeps its kind; deploying with another one says what to do.

    Three automations are created for runs that fail, runs that do not end, and schedules that are silent.
    """
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.orchestration import deploy as deployment
    from segwatch.flows.orchestration.work_pools import ImageSource, PoolKind

    with clear_errors():
        if "PREFECT_API_URL" not in os.environ:
            raise ConfigError(
                "PREFECT_API_URL is not set; start a Prefect server and set it, e.g. http://HOST:4200/api"
            )
        given = {name: value for name, value in (("place", images), ("tag", tag)) if value}
        deployment.deploy_flows(
            folder or deployment.find_deployments_folder(),
            PoolKind(pools) if pools else None,
            ImageSource(**given) if given else None,
        )
        with open_engine() as engine, step(say, "scheduling the watches", every_seconds=10.0):
            deployment.schedule_all_watches(engine)
        deployment.put_automations(notify)
    out.print("work pools, deployments, schedules and automations are in place")


@contextmanager
def _show_progress(first: str) -> Iterator[Callable[[str], None]]:
    """Yield what shows how far the work is: in place on a terminal, else a line now and then."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    if not err.is_interactive:
        # started, the display would print an empty line
        with step(say, to_one_line(first), every_seconds=_SAY_EVERY_SECONDS) as tell:
            yield lambda text: tell(to_one_line(text))
        return
    with progress:
        task = progress.add_task(first, total=None)
        yield lambda text: progress.update(task, description=to_one_line(text))


def _print_report(report: dict[str, dict[str, Any]], watch: str) -> None:
    """Print the counts of each step, then why anything was not observed."""
    for stage, counts in report.items():
        shown = ", ".join(
            f"{name} {value}"
            for name, value in counts.items()
            if value not in ({}, [], None, "") and name not in {"reasons", "held", "pending", "watches"}
        )
        if shown:
            out.print(f"[bold]{escape(stage)}[/bold]: {escape(shown)}")
    for name, counts in report.get("track", {}).get("watches", {}).items():
        if name != watch:
            of_it = f"{counts['observations']} observation(s), {counts['alerts']} alert(s)"
            out.print(f"of these, waiting since another run: {name}: {of_it}", markup=False)
    reasons = [
        (what, count, reason)
        for stage, what in (("discover", "rejected"), ("segment", "not observed"), ("track", "not tracked"))
        for reason, count in report.get(stage, {}).get("reasons", {}).items()
    ]
    for what, count, reason in reasons:
        out.print(f"{what}: {count} x {reason}", markup=False)
    for one in report.get("deliver", {}).get("held", []):
        out.print(f"left to another run: {one}", markup=False)
    for one in report.get("left", {}).get("pending", []):
        out.print(f"pending: {one}", markup=False)
