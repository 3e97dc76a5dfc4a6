"""Try an instruction before it becomes a watch: sources, catalog check, preview, trials, and saving as a watch.

The web server itself segments nothing: it queues a trial, and a worker of the gpu pool runs it. What needs the model or
the Prefect server is done by functions of :class:`TrialIntake`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from shapely.geometry import mapping, shape
from sqlalchemy import Engine

from segwatch.db import trials
from segwatch.db.errors import TrialRefused
from segwatch.db.tokens import Scope
from segwatch.flows.config import watchfile
from segwatch.flows.config.local_watch import derive_targets
from segwatch.flows.config.sizes import find_doubtful_limits
from segwatch.flows.config.times import EARLIEST, Cron, Moment, Start
from segwatch.flows.errors import FlowError
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.access import current_reader, current_sight, require_scope
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS, describe_refusals
from segwatch.flows.web.sources import Source, find_source, list_sources
from segwatch.geo.area import compute_area_m2
from segwatch.geo.bounded import operations
from segwatch.geo.errors import GeoError, TooComplex
from segwatch.geo.sources.http.deadline import call_within
from segwatch.geo.text.spelling import describe_errors
from segwatch.geo.types.watch import Watch

Body = TypeVar("Body", bound=BaseModel)

DISABLED = "this server takes no trials; start it with: segwatch serve --writing"
_MAX_BYTES = 2**20
_MAX_TARGETS = 8
#: Period of a check or a preview that names none.
_DEFAULT_PERIOD = timedelta(days=365)
#: The Prefect server is told for so long while the reader waits.
_START_SECONDS = 5.0
#: Names in messages; a watch file would be named by its path.
_DRAFT = "the watch"
_NAMELESS = "new-watch"


@dataclass(frozen=True)
class SavedWatch:
    """What saving a watch did."""

    revision: UUID
    created: bool
    """False: the very same watch was stored already."""
    is_scheduled: bool
    """Whether the Prefect server has its schedule."""
    note: str | None
    """What is left to do."""


class NameTaken(Exception):
    """A watch of this name is stored with another definition."""


@dataclass(frozen=True)
class TrialIntake:
    """How the server tries and saves."""

    engine: Engine
    """Engine of a role that may write; that of the map may not."""
    check_size: Callable[[Watch], None]
    """Raise :class:`segwatch.flows.errors.ConfigError` if an area is too large for a trial."""
    limits: dict[str, float]
    """Largest area (``area_km2``) and number of tiles (``tiles``) of a trial."""
    check_catalog: Callable[[Watch], dict[str, Any]]
    """Check whether a watch's catalog answers and has scenes; see :class:`schemas.CatalogChecked`."""
    preview: Callable[[Watch], dict[str, Any]]
    """Preview what applying a watch would do; see :class:`schemas.WatchPreview`."""
    save: Callable[[Watch], SavedWatch]
    """Store a watch and schedule it; raises :class:`NameTaken`."""
    start: Callable[[], object]
    """Have a worker take up the trials that wait; never raises."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class AreaBody(_Body):
    """A source and an area."""

    source: str = Field(max_length=200, description="id of a source, of /api/sources")
    area: dict[str, Any] = Field(
        description="GeoJSON Polygon or MultiPolygon, or a Feature with one; longitude, latitude in degrees"
    )


class CheckBody(AreaBody):
    """Body of ``POST /api/catalog/check``."""

    start: Moment | None = Field(None, description="default: a year ago")
    end: Moment | None = Field(None, description="default: now")


class DraftBody(AreaBody):
    """What is common to a trial and a watch."""

    instruction: str = Field(min_length=3, max_length=500)
    targets: list[str] = Field([], max_length=_MAX_TARGETS, description="default: from the instruction")
    min_polygon_m2: float = Field(500.0, ge=0)

    def choose_targets(self) -> tuple[str, ...]:
        """Choose the targets: those given, or those that the instruction names."""
        return tuple(self.targets) or derive_targets(self.instruction)


class TrialBody(DraftBody):
    """Body of ``POST /api/trials``."""

    until: Moment | None = Field(None, description="only scenes acquired until then; default: now")


class PreviewBody(DraftBody):
    """Body of ``POST /api/watches/preview``."""

    name: str = Field(_NAMELESS, max_length=63)
    start: Start | None = Field(None, description="default: a year ago")
    end: Moment | None = None
    schedule: Cron | None = None
    max_cloud_cover: float = Field(1.0, ge=0, le=1)
    alerts: bool = Field(False, description="record an alert of every change; channels need a watch file")


class WatchBody(PreviewBody):
    """Body of ``POST /api/watches``."""

    name: str = Field(max_length=63)
    start: Start


def make_router(intake: TrialIntake | None) -> APIRouter:
    """Make the routes ``/sources``, ``/catalog/check``, ``/watches/preview``, ``POST /watches`` and ``/trials``."""
    routes = APIRouter()

    def require() -> TrialIntake:
        if intake is None:
            raise HTTPException(403, DISABLED)
        require_scope(Scope.OPERATE)
        return intake

    @routes.get("/sources", responses={200: {"model": schemas.Sources}, **REFUSALS})
    def read_sources() -> dict[str, Any]:
        """List the sources that instructions can be tried on, the limits, and whether this reader may."""
        limits = {"pending": trials.MAX_PENDING, "hours": trials.KEPT_HOURS}
        if intake is None:
            return {"may_try": False, "why_not": DISABLED, "limits": limits, "sources": []}
        with intake.engine.connect() as conn:
            found = list_sources(conn, current_sight())
        why_not = _explain_scope()
        return {
            "may_try": why_not is None,
            "why_not": why_not,
            "limits": limits | intake.limits,
            "sources": [one.describe() for one in found],
        }

    @routes.post(
        "/catalog/check",
        responses={200: {"model": schemas.CatalogChecked}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(CheckBody),
    )
    async def check_catalog(request: Request) -> dict[str, Any]:
        """Check whether a source answers and which scenes it has of an area; a catalog that is down is no error."""
        used, body = require(), await _read(request, CheckBody)
        return await run_in_threadpool(_check_catalog, used, body)

    @routes.post(
        "/watches/preview",
        responses={200: {"model": schemas.WatchPreview}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(PreviewBody),
    )
    async def preview(request: Request) -> dict[str, Any]:
        """Say what saving a watch would do, as `segwatch apply` does: scenes, cost, doubts; nothing is stored."""
        used, body = require(), await _read(request, PreviewBody)
        return await run_in_threadpool(_preview, used, body)

    @routes.post(
        "/watches",
        status_code=201,
        responses={
            200: {"model": schemas.WatchSaved, "description": "it was stored already"},
            201: {"model": schemas.WatchSaved},
            **describe_refusals(409),
            **REFUSALS,
        },
        openapi_extra=schemas.describe_json_body(WatchBody),
    )
    async def save(request: Request) -> Response:
        """Save a watch; what `segwatch apply` refuses is refused, and the name of another watch."""
        used, body = require(), await _read(request, WatchBody)
        return await run_in_threadpool(_save, used, body)

    @routes.post(
        "/trials",
        status_code=202,
        responses={202: {"model": schemas.TrialRow}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(TrialBody),
    )
    async def request_trial(request: Request) -> Response:
        """Queue a trial: a worker segments the latest clear scene of an area. It is deleted after a day."""
        used, body = require(), await _read(request, TrialBody)
        return await run_in_threadpool(_request_trial, used, body)

    @routes.get("/trials", responses={200: {"model": schemas.TrialList}, **REFUSALS})
    def list_trials() -> dict[str, Any]:
        """List one's own trials, the newest first, without polygons."""
        with require().engine.connect() as conn:
            found = trials.list_own(conn, current_reader().name)
        return {"trials": [_show(one) for one in found]}

    @routes.get("/trials/{trial_id}", responses={200: {"model": schemas.TrialRow}, **REFUSALS})
    def read_trial(trial_id: UUID) -> dict[str, Any]:
        """Read one of one's own trials: its state and, once it is done, what was found."""
        with require().engine.connect() as conn:
            found = trials.find_own(conn, current_reader().name, trial_id)
        if found is None:
            raise _refuse_trial(trial_id)
        return _show(found)

    @routes.delete("/trials/{trial_id}", status_code=204, response_class=Response, responses={**REFUSALS})
    def remove_trial(trial_id: UUID) -> Response:
        """Delete one of one's own trials; one that runs ends."""
        with require().engine.begin() as conn:
            if not trials.remove(conn, current_reader().name, trial_id):
                raise _refuse_trial(trial_id)
        return Response(status_code=204)

    @routes.get(
        "/trials/{trial_id}/picture",
        response_class=Response,
        responses={**schemas.describe_content("image/jpeg", "The scene with outlines"), **REFUSALS},
    )
    def read_picture(trial_id: UUID) -> Response:
        """Read the picture of a trial that is done: the scene with the outlines of what was found."""
        with require().engine.connect() as conn:
            found = trials.find_picture(conn, current_reader().name, trial_id)
        if found is None:
            raise HTTPException(
                404, f"there is no picture of trial {trial_id}; it is there once the trial is done"
            )
        # a trial never changes once it is done
        return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    return routes


async def _read(request: Request, kind: type[Body]) -> Body:
    received = await read_body(request, _MAX_BYTES)
    try:
        return kind.model_validate_json(received)
    except ValidationError as error:
        raise HTTPException(422, describe_errors(error)) from error


def _explain_scope() -> str | None:
    """Say why this reader may not try; None if it may."""
    who = current_reader()
    if Scope.OPERATE in who.scopes:
        return None
    if who.name:
        return f"{who.name} may not try instructions; that needs a token with the scope {Scope.OPERATE}"
    return (
        f"log in with a token of the scope {Scope.OPERATE}, from: segwatch token create NAME --all-watches --scope "
        f"{Scope.OPERATE}"
    )


def _find_source(intake: TrialIntake, identity: str) -> Source:
    with intake.engine.connect() as conn:
        return find_source(conn, current_sight(), identity)


def _make_watch(source: Source, body: AreaBody, **fields: Any) -> Watch:
    """Make a watch as from a watch file.

    Raises
    ------
    HTTPException
        422, with the words that a watch file of this content would get.
    """
    document = {
        "version": 1,
        "area": {"geojson": body.area},
        # checked as in a file, where a profile without a catalog of its own is valid, too
        "source": {"profile": source.profile.name, "catalog_name": source.catalog_name},
        **fields,
    }
    try:
        return watchfile.parse(document, base=Path(), name=_DRAFT, source=(source.profile, source.catalog))
    except (FlowError, GeoError) as error:
        raise HTTPException(422, str(error)) from error


def _make_draft(source: Source, body: PreviewBody) -> Watch:
    return _make_watch(
        source,
        body,
        name=body.name,
        instruction=body.instruction,
        targets=body.choose_targets(),
        start=body.start or _get_default_start(),
        end=body.end,
        schedule=body.schedule,
        min_polygon_m2=body.min_polygon_m2,
        max_cloud_cover=body.max_cloud_cover,
        rules=[{"name": "changes"}] if body.alerts else [],
    )


def _get_default_start() -> datetime:
    return (datetime.now(UTC) - _DEFAULT_PERIOD).replace(microsecond=0)


def _check_catalog(intake: TrialIntake, body: CheckBody) -> dict[str, Any]:
    source = _find_source(intake, body.source)
    watch = _make_watch(
        source,
        body,
        name=_NAMELESS,
        instruction="check the catalog",
        start=body.start or _get_default_start(),
        end=body.end,
    )
    return {"source": source.id, **intake.check_catalog(watch)}


def _preview(intake: TrialIntake, body: PreviewBody) -> dict[str, Any]:
    watch = _make_draft(_find_source(intake, body.source), body)
    return {**intake.preview(watch), "targets": watch.instruction.targets}


def _save(intake: TrialIntake, body: WatchBody) -> Response:
    if current_sight().watches is not None:
        name = current_reader().name
        raise HTTPException(
            403,
            f"{name} may see some watches only, and would not see a new one; use a token with --all-watches",
        )
    watch = _make_draft(_find_source(intake, body.source), body)
    try:
        saved = intake.save(watch)
    except NameTaken as error:
        raise HTTPException(
            409,
            f"there is a watch named {watch.name} with another definition; choose another name, or change that one "
            "with: segwatch apply FILE",
        ) from error
    made = {
        "watch": watch.name,
        "revision": str(saved.revision),
        "created": saved.created,
        "scheduled": saved.is_scheduled,
        "note": saved.note,
        "warnings": list(find_doubtful_limits(watch)),
    }
    return JSONResponse(made, 201 if saved.created else 200)


def _request_trial(intake: TrialIntake, body: TrialBody) -> Response:
    source, reader = _find_source(intake, body.source), current_reader().name
    watch = _make_watch(
        source,
        body,
        name="trial",
        instruction=body.instruction,
        targets=body.choose_targets(),
        start=EARLIEST,
        min_polygon_m2=body.min_polygon_m2,
    )
    try:
        intake.check_size(watch)
    except FlowError as error:
        raise HTTPException(422, str(error)) from error
    try:
        with intake.engine.begin() as conn:
            made = trials.request(conn, trials.Request(reader, source.id, watch, body.until))
            found = trials.find_own(conn, reader, made)
    except TrialRefused as error:
        raise HTTPException(429, str(error), {"Retry-After": "10"}) from error
    # the ledger has it: a run that is not started now is started by the next track run
    with suppress(TimeoutError):
        call_within(_START_SECONDS, intake.start)
    shown = schemas.TrialRow.model_validate(_show(found or {})).model_dump_json()
    return Response(shown, 202, {"Location": f"/api/trials/{made}"}, "application/json")


def _refuse_trial(identity: UUID) -> HTTPException:
    return HTTPException(
        404,
        f"there is no trial {identity}, or not of yours; trials are deleted after {trials.KEPT_HOURS} hours",
    )


def _show(row: dict[str, Any]) -> dict[str, Any]:
    watch: Watch = row["watch"]
    found = row["result"] or {}
    tiles = row["tiles_done"], row["tiles"]
    return {
        "id": row["id"],
        "state": row["state"],
        "requested_at": row["requested_at"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "expires_at": row["expires_at"],
        "source": row["source"],
        "source_title": watch.profile.title,
        "instruction": watch.instruction.text,
        "targets": list(watch.instruction.targets),
        "area": mapping(watch.area),
        "area_km2": compute_area_m2(watch.area) / 1e6,
        "stage": "waiting for a worker" if row["state"] == "queued" else row["stage"],
        "progress": None if None in tiles or row["finished_at"] else {"done": tiles[0], "total": tiles[1]},
        "reason": row["reason"],
        **{name: found.get(name) for name in _RESULT},
        "unseen": _find_unseen(watch, found.get("observed")),
        "picture": f"api/trials/{row['id']}/picture" if row["has_picture"] else None,
    }


def _find_unseen(watch: Watch, observed: dict[str, Any] | None) -> dict[str, Any] | None:
    """Find the ground of the area that a trial did not see; None = it saw all, or it is not known what it saw."""
    if observed is None:
        return None
    try:
        unseen = operations.difference(watch.area, shape(observed))
    except TooComplex:
        return None
    return None if unseen.is_empty else mapping(unseen)


#: Fields of a result that are shown as they were stored; null until there is one.
_RESULT = ("scene", "model", "demonstration", "totals", "cost", "observed", "polygons", "polygons_of_all")
