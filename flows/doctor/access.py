"""Who may decide what the workers run: how the Prefect server answers strangers, and the rights of the workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx

from segwatch.flows.doctor.facts import Door, Facts, RootWorker
from segwatch.flows.doctor.findings import Finding, Level

_SECONDS = 10.0
#: A site that nobody has: the name is reserved.
_STRANGER = "segwatch.invalid"
_DOCUMENT = "see docs/how-to/control-plane.md"


def door(url: str) -> Door:
    """How the API at this address answers those without credentials, and pages of strangers.

    Raises
    ------
    httpx.HTTPError
        It does not answer.
    """
    with httpx.Client(base_url=url.rstrip("/"), timeout=_SECONDS, follow_redirects=False) as client:
        anonymous = client.post("/deployments/filter", json={"limit": 1})
        preflight = client.options(
            "/deployments/filter",
            headers={"Origin": f"https://{_STRANGER}", "Access-Control-Request-Method": "POST"},
        )
        renamed = client.get("/health", headers={"Host": _STRANGER})
    allowed = preflight.headers.get("access-control-allow-origin")
    return Door(
        open=anonymous.is_success,
        any_origin=allowed in {"*", f"https://{_STRANGER}"},
        any_host=renamed.is_success,
    )


def root_workers(url: str, ours: dict[int, str]) -> Iterator[RootWorker]:
    """Workers of this machine that run as root, as far as this user is shown them.

    Parameters
    ----------
    url
        Of the API; workers that are known to ask another one are left out.
    ours
        Process ids of the home's own services, with their names.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            words = folder.joinpath("cmdline").read_bytes().split(b"\0")
            if folder.stat().st_uid == 0 and _is_worker(words) and (pid in ours or _asks(folder, url)):
                yield RootWorker(pid, ours.get(pid))
        except OSError:  # it ended, or is not shown
            continue


def _is_worker(words: list[bytes]) -> bool:
    named = any(word.rpartition(b"/")[2] == b"prefect" for word in words)
    return named and any(words[at : at + 2] == [b"worker", b"start"] for at in range(len(words)))


def _asks(folder: Path, url: str) -> bool:
    """Whether a process asks the API; one whose environment is not shown may."""
    try:
        given = folder.joinpath("environ").read_bytes().split(b"\0")
    except PermissionError:
        return os.geteuid() != 0
    return f"PREFECT_API_URL={url}".encode() in given


def check(facts: Facts) -> Iterator[Finding]:
    """What lets others decide what the workers run, or makes it worse when they do."""
    server = facts.prefect
    if server is not None and server.error is None:
        yield from _door(server.url, server.door)
        for pool in server.pools:
            if pool.settable:
                says = f"pool {pool.name}: its template lets a run set {', '.join(pool.settable)}"
                why = "so who may create runs may execute any command on its workers"
                fix = f"run: segwatch deploy; {_DOCUMENT}"
                yield Finding("access", Level.WRONG, f"{says}, {why}", fix)
    for worker in facts.root_workers:
        yield _root(worker)


def _door(url: str, found: Door) -> Iterator[Finding]:
    if found.open:
        says = f"{url} answers without credentials: who reaches it decides what the workers run"
        fix = f"set PREFECT_SERVER_API_AUTH_STRING where the server runs, and PREFECT_API_AUTH_STRING here; {_DOCUMENT}"
        yield Finding("access", Level.WRONG, says, fix)
    if found.any_origin:
        says = f"{url} lets pages of any site call it from a browser (Access-Control-Allow-Origin)"
        fix = f"set PREFECT_SERVER_CORS_ALLOWED_ORIGINS to the address of its UI; {_DOCUMENT}"
        yield Finding("access", Level.WRONG if found.open else Level.NOTE, says, fix)
    if found.any_host:
        says = f"{url} answers whatever the Host header says, so a page of any site may reach it by DNS rebinding"
        fix = f"put it behind a proxy that knows its names; {_DOCUMENT}"
        yield Finding("access", Level.WRONG if found.open else Level.NOTE, says, fix)


def _root(worker: RootWorker) -> Finding:
    if worker.service is not None:
        # segwatch gives its own services users of their own where it can, and said at their start why it cannot
        says = f"{worker.service} (process {worker.pid}) runs as root"
        fix = "start segwatch as an ordinary user, or let others enter the folders of Python, segwatch and its home"
        return Finding("access", Level.NOTE, says, f"{fix}; {_DOCUMENT}")
    says = f"a Prefect worker (process {worker.pid}) runs as root: so does all that its runs do"
    return Finding("access", Level.WRONG, says, f"start it as a user of its own; {_DOCUMENT}")
