"""Tell whether scenes wait for a segmenter, without importing what segments them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from segwatch.db import ledger, observations
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference.segmenters import get_model_version


def has_work(engine: Engine, settings: FlowSettings, watch: str | None = None) -> bool:
    """Whether a drain may find work before its linger time is over.

    That is a scene that is free or soon due for another attempt, or a leased one, which returns if its worker died.
    """
    scope: dict[str, Any] = {"model_version": get_model_version(settings), "watch": watch}
    with engine.connect() as conn:
        return (
            ledger.has_waiting(conn, **scope)
            or ledger.is_due_within(conn, settings.linger_seconds, **scope)
            or observations.has_leased(conn, **scope)
        )
