"""Why there is no alert at a point, over HTTP: what ``watch.why_not`` says, in sentences."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import check_watch

#: Most scenes of a response; the newest ones.
_MAX_SCENES = 500
_WORDS = {
    "alerted": "a change here raised an alert",
    "below threshold": "something was found here, but no change that a rule of the watch asks for",
    "cloudy": "cloud, shadow or missing data hid the point",
    "failed": "the observation failed",
    "nothing found": "the point was seen, and nothing was found",
    "not imaged": "the scene does not cover the point",
    "not published": "an acquisition was expected, and the catalog never published it",
    "paused": "the watch is paused: later scenes are not searched",
    "pending": "the scene waits to be observed",
    "refuted": "later observations refuted the change",
    "rejected": "the item of the catalog cannot be used",
    "suppressed": "a review rejected the object",
}
#: What to say first: the answer that brings the reader closest to an alert.
_TELLING = (
    "alerted", "suppressed", "refuted", "below threshold", "failed", "pending", "nothing found", "cloudy", "rejected",
    "not imaged",
)  # fmt: skip


def make_router(reading: Engine) -> APIRouter:
    """Make the route ``GET /why-not``."""
    routes = APIRouter()

    @routes.get("/why-not", responses={200: {"model": schemas.WhyNot}, **REFUSALS})
    def explain(
        watch: str,
        lon: Annotated[float, Query(ge=-180, le=180, description="degrees (EPSG:4326)")],
        lat: Annotated[float, Query(ge=-90, le=90)],
        since: Annotated[
            AwareDatetime | None, Query(alias="from", description="only scenes from then on")
        ] = None,
        until: Annotated[
            AwareDatetime | None, Query(alias="to", description="only scenes up to then")
        ] = None,
    ) -> dict[str, Any]:
        """Explain why there is no alert at a point: one sentence, and a row for each scene, newest first.

        ``of_all`` is the number of scenes and rejected items; at most 500 of them are listed.
        """
        with reading.connect() as conn:
            check_watch(conn, watch)
            rows = analyst.explain_missing_alert(conn, watch, lon, lat, until or datetime.now(UTC))
        paused = [row for row in rows if row["answer"] == "paused"]
        unpublished = [row for row in rows if row["answer"] == "not published" and _is_since(row, since)]
        scenes = [row for row in rows if row["observation_id"] is not None and _is_since(row, since)]
        scenes.sort(key=lambda row: (row["acquired_at"] or _NEVER, str(row["observation_id"])), reverse=True)
        return {
            "sentence": _summarize(scenes, is_paused=bool(paused)),
            "scenes": [_show(row) for row in [*paused, *unpublished, *scenes[:_MAX_SCENES]]],
            "of_all": len(scenes) + len(unpublished) + len(paused),
        }

    return routes


_NEVER = datetime.min.replace(tzinfo=UTC)


def _is_since(row: dict[str, Any], since: datetime | None) -> bool:
    return since is None or row["acquired_at"] is None or row["acquired_at"] >= since


def _summarize(scenes: list[dict[str, Any]], *, is_paused: bool) -> str:
    """Say the most telling answer, and of how many scenes it holds."""
    note = " The watch is paused: later scenes are not searched." if is_paused else ""
    if not scenes:
        return f"No scene of this watch was found for this time.{note}"
    answers = [row["answer"] for row in scenes]
    telling = next(one for one in _TELLING if one in answers)
    newest = next(row for row in scenes if row["answer"] == telling)
    day = f" ({newest['acquired_at']:%Y-%m-%d})" if newest["acquired_at"] else ""
    count = answers.count(telling)
    several = "the scene" if len(scenes) == 1 else f"{count} of {len(scenes)} scenes"
    detail = newest["waits"] or (newest["reason"] if telling in {"failed", "rejected"} else None)
    return (
        f"{several[0].upper()}{several[1:]}: {_WORDS[telling]}{day}{f'; {detail}' if detail else ''}.{note}"
    )


def _show(row: dict[str, Any]) -> dict[str, Any]:
    explained = [_WORDS[row["answer"]], row["waits"]]
    if row["answer"] in {"failed", "rejected", "pending", "cloudy"}:
        explained.append(row["reason"])
    return {
        "scene": row["scene_id"],
        "observation_id": row["observation_id"],
        "acquired_at": row["acquired_at"],
        "reason": row["answer"],
        "explanation": "; ".join(one for one in explained if one),
    }
