"""Operators' page: how each watch is doing, and what holders of the scope ``operate`` may do about it."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, Engine

from segwatch.db import analyst, channel_tests, watch_actions
from segwatch.db.errors import NotFound, WatchRefused
from segwatch.db.tokens import Scope
from segwatch.flows.alerting.channels import name_channels
from segwatch.flows.pipeline.retrying import requeue_failed
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.access import current_reader, current_sight, require_scope
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import refuse_unknown
from segwatch.geo.text.spelling import describe_errors
from segwatch.geo.types.revisits import MAX_MISSED

_log = logging.getLogger(__name__)
_MAX_BYTES = 2**16
#: Over how many days computing and area are summed; as in ``watch.operations``.
_COST_DAYS, _FAILURE_DAYS = 30, 7


class Action(StrEnum):
    """What an operator may do with a watch."""

    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    TEST_ALERT = "test-alert"


@dataclass(frozen=True)
class OperationIntake:
    """How the server acts on watches."""

    engine: Engine
    """Engine of a role that may write; that of the map may not."""
    find_version: Callable[[Connection, str], str]
    """Version of a watch's model, by name of the watch; loads no weights."""
    tell_server: Callable[[str, bool], None] | None = None
    """Pause (True) or resume the watch's deployment on the Prefect server; None = no server is known."""


class ActionBody(BaseModel):
    """Body of ``POST /api/operations/WATCH/ACTION``."""

    model_config = ConfigDict(extra="forbid")

    person: str = Field("", max_length=200)
    """Who acts; empty = the name of the token."""
    note: str = Field("", max_length=2000)
    """Reason, stored with a pause or its end."""


def make_router(
    reading: Engine,
    intake: OperationIntake | None,
    find_next: Callable[[str, datetime], datetime | None],
    prefect_url: str = "",
) -> APIRouter:
    """Make the routes ``GET /operations`` and, with an intake, ``POST /operations/WATCH/ACTION``.

    Parameters
    ----------
    find_next
        Next firing of a cron expression after a time, UTC.
    prefect_url
        Address of Prefect's own pages; empty = unknown.
    """
    routes = APIRouter()

    @routes.get("/operations", responses={200: {"model": schemas.Operations}, **REFUSALS})
    def read_operations() -> dict[str, Any]:
        """Say how each watch is doing: last scene, queue, failures, messages, cost, catalog, and its next run.

        Failures are of the last seven days, cost of the last thirty; null where nothing was published. ``rendering``
        counts this month's scenes whose rendering was judged, and those that were saturated, constant or out of
        range; ``alert_ages`` how long after the acquisition of its scene each alert was raised. Texts of catalog
        errors, which may name hosts, are for readers with the scope ``operate``.
        """
        now = datetime.now(UTC)
        operates = intake is not None and Scope.OPERATE in current_reader().scopes
        with reading.connect() as conn:
            rows = analyst.list_operations(conn)
            measured = _measure(conn, now)
        return {
            "now": now,
            "prefect_url": prefect_url or None,
            "may_operate": operates,
            "watches": [
                _show(row, now, find_next, names_hosts=operates) | measured.describe(row["watch"])
                for row in rows
            ],
        }

    @routes.post(
        "/operations/{watch}/{action}",
        responses={200: {"model": schemas.OperationDone}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(ActionBody),
    )
    async def act(watch: str, action: Action, request: Request) -> dict[str, Any]:
        """Queue failed observations again, pause or resume a watch, or send a test message to its channels.

        Repeating it changes nothing more; of test messages each channel gets at most one in a minute.
        """
        if intake is None:
            raise HTTPException(
                403, "this server takes no operations; start it with: segwatch serve --writing"
            )
        require_scope(Scope.OPERATE)
        received = await read_body(request, _MAX_BYTES)
        try:
            body = ActionBody.model_validate_json(received)
        except ValidationError as error:
            raise HTTPException(422, describe_errors(error)) from error
        return await run_in_threadpool(_act, intake, watch, action, body)

    return routes


@dataclass(frozen=True)
class _Measured:
    """What is measured of watches besides their state, by watch."""

    shifts: dict[str, float | None]
    renderings: dict[str, dict[str, int]]
    ages: dict[str, list[dict[str, Any]]]

    def describe(self, watch: str) -> dict[str, Any]:
        """Describe registration, rendering and age of alerts of one watch."""
        return {
            "registration": {"shift_m": self.shifts.get(watch)},
            "rendering": self.renderings.get(watch, {"judged": 0, "saturated": 0}),
            "alert_ages": self.ages.get(watch, []),
        }


def _measure(conn: Connection, now: datetime) -> _Measured:
    renderings = {
        row["watch"]: {"judged": row["judged"], "saturated": row["saturated"]}
        for row in analyst.list_renderings(conn, f"{now:%Y-%m}")
    }
    ages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in analyst.list_alert_ages(conn):
        limit = row["up_to_seconds"]
        ages[row["watch"]].append(
            {"up_to_seconds": None if math.isinf(limit) else limit, "alerts": row["alerts"]}
        )
    shifts = {row["watch"]: row["shift_m"] for row in analyst.list_metrics(conn)}
    return _Measured(shifts, renderings, ages)


def _act(intake: OperationIntake, watch: str, action: Action, body: ActionBody) -> dict[str, Any]:
    by = body.person.strip() or current_reader().name
    try:
        with intake.engine.begin() as conn:
            if not current_sight().may_read(watch):
                raise refuse_unknown(watch)
            done = _apply(conn, intake, watch, action, by, body.note)
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    except WatchRefused as error:
        raise HTTPException(422, str(error)) from error
    if action in {Action.PAUSE, Action.RESUME}:
        done["note"] = _tell_server(intake, watch, paused=action is Action.PAUSE)
    return {"watch": watch, "action": action, **done}


def _apply(
    conn: Connection, intake: OperationIntake, watch: str, action: Action, by: str, note: str
) -> dict[str, Any]:
    match action:
        case Action.RETRY:
            count = requeue_failed(conn, watch, intake.find_version(conn, watch))
            return {"message": f"{count} failed observation(s) queued again", "count": count}
        case Action.TEST_ALERT:
            names = name_channels(channel_tests.queue_test(conn, watch, by=by))
            count = len(names)
            if not count:
                return {"message": "no rule of this watch has a channel; nothing was sent", "count": 0}
            return {"message": f"test message queued for {', '.join(sorted(names.values()))}", "count": count}
        case Action.PAUSE:
            done = watch_actions.pause(conn, watch, by=by, note=note)
        case Action.RESUME:
            done = watch_actions.resume(conn, watch, by=by, note=note)
    before = "" if done.created else ", as before"
    return {"message": f"{done.action} by {done.by}{before}", "count": int(done.created)}


def _tell_server(intake: OperationIntake, watch: str, *, paused: bool) -> str | None:
    """Tell the Prefect server; the ledger decides, so that a server that cannot be told does no harm."""
    if intake.tell_server is None:
        return "no Prefect server is known here; runs that it starts follow the ledger"
    try:
        intake.tell_server(watch, paused)
    except Exception:  # whatever Prefect's client raises: the ledger has it, and runs follow the ledger
        _log.exception("the Prefect server was not told about %s", watch)
        return "the Prefect server could not be told; runs that it starts follow the ledger"
    return None


def _show(
    row: dict[str, Any],
    now: datetime,
    find_next: Callable[[str, datetime], datetime | None],
    *,
    names_hosts: bool,
) -> dict[str, Any]:
    runs = row["state"] == "active" and row["schedule"] is not None
    following = find_next(row["schedule"], now) if runs else None
    if following is not None and row["ends_at"] is not None and following > row["ends_at"]:
        following = None
    error = row["search_error"] if names_hosts or row["search_error"] is None else "the search failed"
    return {
        "watch": row["watch"],
        "state": row["state"],
        "state_since": row["state_since"],
        "schedule": row["schedule"],
        "next_run": following,
        "last_scene": None
        if row["last_acquired_at"] is None
        else {
            "acquired_at": row["last_acquired_at"],
            "observed_at": row["last_observed_at"],
            "lag_seconds": row["lag_seconds"],
        },
        "queue": {
            "pending": row["pending"],
            "running": row["running"],
            "oldest_at": row["oldest_pending_at"],
        },
        "failed": row["failed"],
        "failures": row["failures"],
        "failure_days": _FAILURE_DAYS,
        "outbox": {"due": row["messages_due"], "failed": row["messages_failed"]},
        "cost": {"gpu_seconds": row["gpu_seconds"], "km2": row["observed_km2"], "days": _COST_DAYS},
        "catalog": {
            "searched_at": row["searched_at"],
            "answered_at": row["answered_at"],
            "failures": row["search_failures"],
            "error": error,
            "publication_seconds": None
            if row["publication_p50_seconds"] is None
            else {"p50": row["publication_p50_seconds"], "p95": row["publication_p95_seconds"]},
            "acquisitions": {
                "seen": row["acquisitions_seen"] or 0,
                "missing": row["acquisitions_missing"] or 0,
            },
            "missed_revisits": row["missed_revisits"],
            "silent": (row["missed_revisits"] or 0) >= MAX_MISSED,
            "next_expected_at": row["next_expected_at"],
        },
    }
