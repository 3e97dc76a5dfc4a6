"""Check who can decide what the workers run: callers of the Prefect API, job templates, workers that run as root."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from segwatch.flows.doctor.facts import Facts, RootWorker
from segwatch.flows.doctor.findings import Finding, Level
from segwatch.flows.orchestration.server_facts import ApiExposure
from segwatch.flows.services import accounts

_DOCUMENT = "see docs/how-to/control-plane.md"


def find_root_workers(url: str, services: dict[int, str], home: Path) -> Iterator[RootWorker]:
    """Find Prefect workers on this machine that run as root, among the processes that this user may inspect.

    Parameters
    ----------
    url
        Address of the API; workers known to poll another API are left out.
    services
        Process groups of the home's own services, with their names.
    home
        Folder of these services.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            words = folder.joinpath("cmdline").read_bytes().split(b"\0")
            if pid in services or folder.stat().st_uid != 0 or not _is_worker(words):
                continue  # services.keeper, which leads the process group of a service, is not the worker itself
            service = services.get(os.getpgid(pid))
            if service is not None or _may_poll(folder, url):
                barring = accounts.list_barring_folders(home) if service is not None else ()
                yield RootWorker(pid, service, tuple(map(str, barring)))
        except OSError:  # the process ended, or this user may not inspect it
            continue


def _is_worker(words: list[bytes]) -> bool:
    named = any(word.rpartition(b"/")[2] == b"prefect" for word in words)
    return named and any(words[at : at + 2] == [b"worker", b"start"] for at in range(len(words)))


def _may_poll(folder: Path, url: str) -> bool:
    """Whether a process polls the API; assume so if its environment cannot be read."""
    try:
        given = folder.joinpath("environ").read_bytes().split(b"\0")
    except PermissionError:
        return os.geteuid() != 0
    return f"PREFECT_API_URL={url}".encode() in given


def check(facts: Facts) -> Iterator[Finding]:
    """Report what lets outsiders decide what the workers run, or worsens the damage if they do."""
    server = facts.prefect
    if server is not None and server.error is None:
        yield from _check_exposure(server.url, server.exposure)
        for pool in server.pools:
            if pool.settable:
                says = f"pool {pool.name}: its job template lets a run set {', '.join(pool.settable)}"
                why = "so anyone who may create runs can execute any command on its workers"
                fix = f"run: segwatch deploy; {_DOCUMENT}"
                yield Finding("access", Level.WRONG, f"{says}, {why}", fix)
    for worker in facts.root_workers:
        yield _report_root(worker)


def _check_exposure(url: str, found: ApiExposure) -> Iterator[Finding]:
    if found.open:
        says = f"{url} answers without credentials: anyone who reaches it decides what the workers run"
        fix = (
            "set PREFECT_SERVER_API_AUTH_STRING where the server runs, and PREFECT_API_AUTH_STRING here; "
            f"{_DOCUMENT}"
        )
        yield Finding("access", Level.WRONG, says, fix)
    if found.any_origin:
        says = f"{url} lets web pages of any site call it from a browser (Access-Control-Allow-Origin)"
        fix = f"set PREFECT_SERVER_CORS_ALLOWED_ORIGINS to the address of its UI; {_DOCUMENT}"
        yield Finding("access", Level.WRONG if found.open else Level.NOTE, says, fix)
    if found.any_host:
        says = f"{url} accepts any Host header, so a web page of any site can reach it by DNS rebinding"
        fix = f"put it behind a proxy that checks the Host header; {_DOCUMENT}"
        yield Finding("access", Level.WRONG if found.open else Level.NOTE, says, fix)


def _report_root(worker: RootWorker) -> Finding:
    if worker.service is not None:
        # segwatch gives its services users of their own where it can; when starting them it said why it could not
        says = f"{worker.service} (process {worker.pid}) runs as root"
        fix = "start segwatch as an ordinary user"
        if worker.barring:
            fix += f", or let others pass: chmod o+x {shlex.join(worker.barring)}"
        return Finding("access", Level.NOTE, says, f"{fix}; {_DOCUMENT}")
    says = f"a Prefect worker (process {worker.pid}) runs as root, and so does everything that its runs do"
    return Finding("access", Level.WRONG, says, f"start it as an ordinary user; {_DOCUMENT}")
