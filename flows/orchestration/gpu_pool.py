"""Have the workers of the gpu pool answer what is left of a watch, whatever becomes of one of them."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any, cast
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from sqlalchemy import Engine

from segwatch.db import ledger
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import FlowError
from segwatch.flows.inference.drain import drain, has_work
from segwatch.flows.inference.segmenters import version_of
from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.following import End, Followed, Following

_log = logging.getLogger(__name__)

SEGMENT_DEPLOYMENT = "segment/segment"
#: Runs of one observing run; a scene that kills its worker fails after so many attempts by itself.
_MAX_RUNS = 3


class _Cancelled(FlowError):
    """Somebody cancelled the segment run, who wants no other in its place."""


def segment_on_pool(engine: Engine, settings: FlowSettings, watch: str) -> dict[str, Any]:
    """Start a segment run and follow it; one whose process is lost is followed by another one.

    With ``SEGWATCH_SEGMENT_HERE`` this process does what the pool does not.

    Raises
    ------
    FlowError
        Something is left that could be answered now, and why.
    """
    if not has_work(engine, settings, watch):
        return {"run": None}
    try:
        return _on_pool(engine, settings, watch)
    except _Cancelled:
        raise
    except FlowError as error:
        if not settings.segment_here:
            raise
        _log.warning("%s; this run goes on by itself", error)
        return _here(engine, settings, watch, str(error))


def _on_pool(engine: Engine, settings: FlowSettings, watch: str) -> dict[str, Any]:
    before = _untouched(engine, settings, watch)
    troubles: list[str] = []
    for _ in range(_MAX_RUNS):
        run = _start(watch)
        found = Following(engine, settings, watch, run).wait()
        if found.end is End.DONE:
            state = found.state.name if found.state is not None else "unknown"
            return {"run": str(run.id), "state": state} | _told(troubles, found.left)
        troubles.append(f"the segment run {run.name} {found.why}")
        if found.state is not None and found.state.is_cancelled() and found.end is End.ENDED:
            raise _Cancelled(f"{troubles[-1]}; what is pending stays queued")
        if not _is_worth_another(found):
            break
        if found.end is End.ENDED and (idle := before & _untouched(engine, settings, watch)):
            raise FlowError(
                f"the segment run {run.name} completed and took up none of {len(idle)} scene(s) of "
                f"{watch}: the gpu pool's worker looks at another ledger or has another model; compare "
                "SEGWATCH_DATABASE_URL, SEGWATCH_MODEL_PATH and SEGWATCH_SEGMENTER of its worker with those of the cpu "
                "pool's. What is pending stays queued"
            )
    raise FlowError(
        f"{'; '.join(troubles)}; see that a worker of the gpu pool runs. What is pending stays queued: {found.left}"
    )


def _start(watch: str) -> FlowRun:
    with deploy.reached():
        made = run_deployment(
            SEGMENT_DEPLOYMENT,
            parameters={"watch": watch},
            timeout=0,
        )
    return cast(FlowRun, made)


def _is_worth_another(found: Followed) -> bool:
    """Whether another run may do better: one that failed by itself would fail again."""
    if found.end is End.LOST:
        return True
    return (
        found.end is End.ENDED
        and found.state is not None
        and (found.state.is_completed() or found.state.is_crashed())
    )


def _here(engine: Engine, settings: FlowSettings, watch: str, why: str) -> dict[str, Any]:
    done = drain(engine, settings, watch=watch)
    with engine.connect() as conn:
        left = ledger.open_work(conn, model_version=version_of(settings), watch=watch)
    if left.free:
        raise FlowError(f"{why}; segmenting here left scenes undone: {left}")
    return {"run": None, "here": asdict(done)} | _told([why], left)


def _told(troubles: list[str], left: ledger.OpenWork) -> dict[str, Any]:
    """What a report tells besides, where there is anything to tell."""
    told: dict[str, Any] = {}
    if troubles:
        told["troubles"] = troubles
    if left.later:
        told["left"] = str(left)
    return told


def _untouched(engine: Engine, settings: FlowSettings, watch: str) -> frozenset[UUID]:
    with engine.connect() as conn:
        return ledger.untouched(conn, model_version=version_of(settings), watch=watch)
