"""Report the open circuits that keep scenes of a watch from being observed."""

from __future__ import annotations

from sqlalchemy import Engine

from segwatch.db import circuits
from segwatch.db.circuits import OpenCircuit
from segwatch.flows.errors import SourceOut
from segwatch.geo.sources.http.circuits import name_credentials_circuit

_CREDENTIALS = name_credentials_circuit("")


def require_sources(engine: Engine, watch: str) -> dict[str, int]:
    """Check that no scene of the watch waits for a source with an open circuit.

    Raises
    ------
    SourceOut
        Scenes wait; a run takes them up once the source works again.
    """
    with engine.connect() as conn:
        waiting = [one for one in circuits.list_open(conn, watch) if one.waiting]
    if waiting:
        descriptions = "; ".join(describe_circuit(one) for one in waiting)
        raise SourceOut(
            f"{watch}: {descriptions}. Nothing is lost and no attempt is counted: a run takes the scenes up once the "
            f"source works again. To try at once: segwatch retry {watch}, then segwatch run {watch}"
        )
    return {}


def describe_circuit(one: OpenCircuit) -> str:
    """Describe one open circuit in a sentence."""
    return (
        f"{one.waiting} scene(s) wait for {name_circuit(one.name)}: "
        f"circuit open since {one.opened_at:%Y-%m-%d %H:%M} UTC, {one.failures} failure(s) in a row, "
        f"{_describe_next(one)}; the last error: {one.error}"
    )


def _describe_next(one: OpenCircuit) -> str:
    if one.due:
        return "to be tried again by the next run that segments them"
    return f"next attempt after {one.retry_at:%H:%M:%S} UTC"


def name_circuit(name: str) -> str:
    """Name a circuit for people: the host, or the credentials of a source."""
    if name.startswith(_CREDENTIALS):
        return f"the credentials of source {name.removeprefix(_CREDENTIALS)}"
    return f"the host {name}"
