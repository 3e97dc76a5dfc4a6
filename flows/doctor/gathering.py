"""Gather the facts from the environment, the ledger and the Prefect server. Reads only, and never raises."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from segwatch.db import health, migrate, stuck
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.errors import DbError, describe_error
from segwatch.flows.config import variables
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.doctor import control_plane
from segwatch.flows.doctor.facts import Facts, HomeServices
from segwatch.flows.orchestration.read_server import read_server
from segwatch.flows.orchestration.server_facts import PrefectFacts
from segwatch.flows.runtime import assemble
from segwatch.flows.services.supervisor import Supervisor


def gather(settings: FlowSettings) -> Facts:
    """Gather the facts of this moment."""
    now = datetime.now(UTC)
    ledger, work, problem = _read_ledger(settings)
    prefect = _read_prefect(settings, now)
    supervisor = Supervisor(settings.home)
    services = {one.pid: one.name for one in supervisor.running()}
    return Facts(
        now=now if ledger is None else ledger.now,
        unread=tuple(variables.find_unread(os.environ)),
        ledger=ledger,
        ledger_error=problem,
        ledger_server=_find_external_server(settings),
        stuck=work,
        prefect=prefect,
        root_workers=()
        if prefect is None
        else tuple(control_plane.find_root_workers(prefect.url, services, settings.home)),
        services=HomeServices(
            tuple(services.values()),
            tuple(supervisor.ended()),
            tuple(supervisor.restarts()),
            supervisor.logs,
        ),
    )


def _read_ledger(
    settings: FlowSettings,
) -> tuple[health.LedgerHealth | None, stuck.StuckWork, str | None]:
    """Read the ledger's health, the work that is stuck, and what is wrong with the ledger itself."""
    try:
        url = assemble.make_worker_url(settings)
        state = migrate.describe_state(url)
        engine = make_engine(url)
        try:
            with engine.connect() as conn:
                found, work = health.read(conn), stuck.read(conn)
        finally:
            engine.dispose()
    except (DbError, SQLAlchemyError, OSError) as error:
        return None, stuck.StuckWork(), describe_error(error)
    up_to_date = state.startswith("up to date") or state == "not shown to this role"
    return found, work, None if up_to_date else f"the schema is {state}"


def _find_external_server(settings: FlowSettings) -> str | None:
    """Return HOST:PORT of a database server that the operator runs; None for the embedded cluster."""
    if settings.database_url is None:
        return None
    try:
        url = make_url(settings.database_url.get_secret_value())
        own = Cluster(settings.home).status().port
    except (ArgumentError, DbError):
        return None
    if own is not None and (url.host, url.port) == ("127.0.0.1", own):
        return None
    return f"{url.host or 'localhost'}:{url.port or 5432}"


def _read_prefect(settings: FlowSettings, now: datetime) -> PrefectFacts | None:
    own = _find_home_server(settings)
    url = os.environ.get("PREFECT_API_URL") or own
    return None if url is None else replace(read_server(url, now), of_home=url == own)


def _find_home_server(settings: FlowSettings) -> str | None:
    """Find the server that this home folder started, also in a shell where PREFECT_API_URL is not set."""
    supervisor = Supervisor(settings.home)
    port = supervisor.remembered_port("prefect")
    known = supervisor.find("prefect") is not None or "prefect" in supervisor.ended()
    return f"http://127.0.0.1:{port}/api" if known and port is not None else None
