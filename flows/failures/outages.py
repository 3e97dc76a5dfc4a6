"""Outages that keep scenes of a watch from being observed, as a run tells them."""

from __future__ import annotations

from sqlalchemy import Engine

from segwatch.db import circuits
from segwatch.db.circuits import OpenCircuit
from segwatch.flows.errors import SourceOut
from segwatch.geo.sources.http.circuits import of_credentials

_CREDENTIALS = of_credentials("")


def require_sources(engine: Engine, watch: str) -> dict[str, int]:
    """Make sure that no scene of the watch waits for a source that is out.

    Raises
    ------
    SourceOut
        Some do; they come back by themselves with the first run after the source does.
    """
    with engine.connect() as conn:
        waiting = [one for one in circuits.open_now(conn, watch) if one.waiting]
    if waiting:
        told = "; ".join(describe(one) for one in waiting)
        raise SourceOut(
            f"{watch}: {told}. Nothing is lost and no attempt is counted: the scenes are taken up by the first run "
            f"after the source works again; at once with: segwatch retry {watch}, then segwatch run {watch}"
        )
    return {}


def describe(one: OpenCircuit) -> str:
    """One open circuit in words."""
    return (
        f"{one.waiting} scene(s) wait for {called(one.name)}: circuit open since {one.opened_at:%Y-%m-%d %H:%M} UTC, "
        f"{one.failures} failure(s) in a row, next attempt after {one.retry_at:%H:%M:%S} UTC; "
        f"the last error: {one.error}"
    )


def called(name: str) -> str:
    """A circuit as people call it."""
    if name.startswith(_CREDENTIALS):
        return f"the credentials of source {name.removeprefix(_CREDENTIALS)}"
    return f"the host {name}"
