"""Tell whether scenes wait for a segmenter, without importing what segments them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine

from segwatch.db import ledger, observations
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference import watch_models


def has_work(engine: Engine, settings: FlowSettings, watch: str | None = None) -> bool:
    """Whether a drain may find work before its linger time is over.

    That is a scene that is free or soon due for another attempt, or a leased one, which returns if its worker died.
    """
    with engine.connect() as conn:
        models = watch_models.list_models(conn, settings, watch)
        return any(has_work_for(conn, settings, version, watch) for version, _ in models)


def has_work_for(conn: Connection, settings: FlowSettings, version: str, watch: str | None = None) -> bool:
    """Whether a drain with the model of this version may find work, see :func:`has_work`."""
    scope: dict[str, Any] = {"model_version": version, "watch": watch}
    return (
        ledger.has_waiting(conn, **scope)
        or ledger.is_due_within(conn, settings.linger_seconds, **scope)
        or observations.has_leased(conn, **scope)
    )
