"""Have workers of the gpu pool segment the pending scenes of a watch, even if a worker is lost."""

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
from segwatch.flows.inference import watch_models
from segwatch.flows.inference.pending_work import has_work
from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.following import FollowedRun, RunEnd, RunFollower

_log = logging.getLogger(__name__)

SEGMENT_DEPLOYMENT = "segment/segment"
#: Segment runs started by one observe run; the ledger limits the attempts of a scene that kills its workers.
_MAX_RUNS = 3


class _Cancelled(FlowError):
    """A user cancelled the segment run, so no other is started in its place."""


def segment_on_pool(engine: Engine, settings: FlowSettings, watch: str) -> dict[str, Any]:
    """Start a segment run and follow it; if its process is lost, start another one.

    With ``SEGWATCH_SEGMENT_HERE`` this process segments what the pool does not.

    Raises
    ------
    FlowError
        Scenes are left that could be observed now; the message says why.
    """
    if not has_work(engine, settings, watch):
        return {"run": None}
    try:
        return _run_on_pool(engine, settings, watch)
    except _Cancelled:
        raise
    except FlowError as error:
        if not settings.segment_here:
            raise
        _log.warning("%s; this run segments the scenes itself", error)
        return _run_here(engine, settings, watch, str(error))


def _run_on_pool(engine: Engine, settings: FlowSettings, watch: str) -> dict[str, Any]:
    before = _find_untouched(engine, settings, watch)
    troubles: list[str] = []
    for _ in range(_MAX_RUNS):
        run = _start(watch)
        found = RunFollower(engine, settings, watch, run).wait()
        if found.end is RunEnd.DONE:
            state = found.state.name if found.state is not None else "unknown"
            return {"run": str(run.id), "state": state} | _make_extra(troubles, found.left)
        troubles.append(f"the segment run {run.name} {found.why}")
        if found.state is not None and found.state.is_cancelled() and found.end is RunEnd.ENDED:
            raise _Cancelled(f"{troubles[-1]}; pending scenes stay queued")
        if not _is_worth_another(found):
            break
        if found.end is RunEnd.ENDED and (idle := before & _find_untouched(engine, settings, watch)):
            raise FlowError(
                f"the segment run {run.name} completed without leasing any of {len(idle)} pending scene(s) of "
                f"{watch}: the gpu pool's worker uses another ledger or another model; compare its "
                "SEGWATCH_DATABASE_URL, SEGWATCH_MODEL_PATH and SEGWATCH_SEGMENTER with those of the cpu pool's "
                "worker. Pending scenes stay queued"
            )
    raise FlowError(
        f"{'; '.join(troubles)}; make sure that a worker of the gpu pool runs. Pending scenes stay queued: {found.left}"
    )


def _start(watch: str) -> FlowRun:
    with deploy.explain_unreachable_server():
        made = run_deployment(
            SEGMENT_DEPLOYMENT,
            parameters={"watch": watch},
            timeout=0,
        )
    return cast(FlowRun, made)


def _is_worth_another(found: FollowedRun) -> bool:
    """Whether another run may succeed: a run that failed by itself would fail again."""
    if found.end is RunEnd.LOST:
        return True
    return (
        found.end is RunEnd.ENDED
        and found.state is not None
        and (found.state.is_completed() or found.state.is_crashed())
    )


def _run_here(engine: Engine, settings: FlowSettings, watch: str, why: str) -> dict[str, Any]:
    # imported here: what reads and segments imagery takes a second that most observe runs do not need
    from segwatch.flows.inference.drain import drain

    done = drain(engine, settings, watch=watch)
    with engine.connect() as conn:
        version = watch_models.find_version(conn, settings, watch)
        left = ledger.read_open_work(conn, model_version=version, watch=watch)
    if left.free:
        raise FlowError(f"{why}; segmenting in this process left scenes: {left}")
    return {"run": None, "here": asdict(done)} | _make_extra([why], left)


def _make_extra(troubles: list[str], left: ledger.OpenWork) -> dict[str, Any]:
    """Make the optional entries of a report: troubles, and scenes that wait."""
    extra: dict[str, Any] = {}
    if troubles:
        extra["troubles"] = troubles
    if left.later:
        extra["left"] = str(left)
    return extra


def _find_untouched(engine: Engine, settings: FlowSettings, watch: str) -> frozenset[UUID]:
    with engine.connect() as conn:
        version = watch_models.find_version(conn, settings, watch)
        return ledger.list_untouched(conn, model_version=version, watch=watch)
