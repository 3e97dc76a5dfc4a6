"""Reviews: verdicts of people on objects: confirmed, rejected, or edited with a geometry of their own.

A verdict never changes: the next one about the object replaces it. It belongs to a track; when the same object gets
another track (by a late scene, a split or a new model), the verdict is carried over, so that rejected objects stay
rejected.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Row, text

from segwatch.db import corrections, publishing, series, summaries
from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.db.errors import NotFound, ReviewRefused
from segwatch.db.ids import make_id
from segwatch.db.raising import SendTime
from segwatch.geo.antimeridian import is_in_degrees
from segwatch.geo.bounded import operations
from segwatch.geo.errors import TooComplex
from segwatch.geo.text.storable import to_storable
from segwatch.geo.types.watch import AlertRule

#: More than any geometry drawn by hand needs.
MAX_VERTICES = 100_000
MAX_TEXT_LENGTH = 2_000
#: Minimum overlap of a drawn geometry and the observed object, as a share of the smaller one.
MIN_SHARED = 0.1
#: Limits of the area of a drawn geometry relative to the observed object.
MAX_GROWTH = 100
MAX_SHRINKAGE = 1000


class Verdict(enum.StrEnum):
    """A verdict on an object."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    EDITED = "edited"


@dataclass(frozen=True, slots=True)
class Review:
    """One review."""

    id: UUID
    track_id: UUID
    verdict: Verdict
    created: bool
    """False if the same verdict was in force already."""


_STATE = text(
    """
    SELECT k.series_id, t.geom, t.last_looked FROM segwatch.track_state t
    JOIN segwatch.track k ON k.id = t.track_id
    WHERE t.track_id = :track_id AND upper_inf(t.recorded)
    ORDER BY lower(t.valid) DESC LIMIT 1
    """
)
_HELD = text(
    """
    SELECT id, ordinal, verdict, reviewer, reason, looked_at, decided_at,
           ST_AsBinary(geom) IS NOT DISTINCT FROM ST_AsBinary(CAST(:geom AS geometry)) AS same_geom
    FROM segwatch.verdict WHERE track_id = :track_id
    """
)
_ADD = text(
    """
    INSERT INTO segwatch.review (id, track_id, ordinal, verdict, reviewer, reason, geom, area_m2, outline, looked_at,
                                 decided_at)
    VALUES (:id, :track_id, :ordinal, :verdict, :reviewer, :reason, CAST(:geom AS geometry),
            ST_Area(CAST(CAST(:geom AS geometry) AS geography)), CAST(:outline AS geometry), :looked_at, :decided_at)
    """
)
#: Areas, overlap (m²) and distance (m) of a drawn geometry and the observed object, geodesic.
_RELATION = text(
    """
    SELECT ST_Area(CAST(d AS geography)) AS drawn_m2, ST_Area(CAST(o AS geography)) AS observed_m2,
           ST_Area(CAST(ST_CollectionExtract(CAST(:common AS geometry), 3) AS geography)) AS common_m2,
           ST_Distance(CAST(d AS geography), CAST(o AS geography)) AS apart_m
    FROM (SELECT CAST(:drawn AS geometry) AS d, CAST(:observed AS geometry) AS o) g
    """
)


def decide(
    conn: Connection,
    track_id: UUID,
    verdict: Verdict,
    *,
    reviewer: str,
    reason: str,
    outline: BaseGeometry | None = None,
    turn: Callable[[AlertRule], SendTime] | None = None,
) -> Review:
    """Record a verdict on an object; repeating the verdict in force adds nothing.

    A rejection retracts the alerts about the object, and another verdict after it reinstates them.

    Parameters
    ----------
    conn
        A transaction of a role that may add reviews.
    outline
        Geometry drawn by the reviewer, for ``EDITED`` only: Polygon or MultiPolygon, EPSG:4326.
    turn
        Returns the earliest send time of a rule; corrections wait like alerts. None = send at once.

    Raises
    ------
    NotFound
        No object has this track id.
    ReviewRefused
        Name or reason are missing or too long, or the geometry is missing, not allowed, invalid or elsewhere.
    """
    _check(verdict, reviewer, reason, outline)
    state = _locked_state(conn, track_id)
    geom = None if outline is None else to_ewkb(outline)
    if outline is not None:
        _check_relation(conn, track_id, outline, state.geom)
    held = conn.execute(_HELD, {"track_id": track_id, "geom": geom}).first()
    same = held is not None and (held.verdict, held.reviewer, held.reason, held.same_geom) == (
        verdict.value, reviewer, reason, True
    )  # fmt: skip
    if held is not None and same and (verdict is not Verdict.EDITED or held.looked_at == state.last_looked):
        return Review(held.id, track_id, verdict, created=False)
    now = publishing.next_recorded_time(conn, state.series_id)
    if held is not None:
        # keep verdicts in order even if the clock was set back
        now = max(now, held.decided_at + timedelta(microseconds=1))
    ordinal = 1 if held is None else held.ordinal + 1
    row = {
        "id": make_id("review", track_id, ordinal),
        "track_id": track_id,
        "ordinal": ordinal,
        "verdict": verdict.value,
        "reviewer": reviewer,
        "reason": reason,
        "geom": geom,
        "outline": state.geom,
        "looked_at": state.last_looked,
        "decided_at": now,
    }
    if held is None:
        summaries.begin_review(conn, track_id)
    conn.execute(_ADD, row)
    summaries.refresh_reviewed(conn, [track_id])
    was_rejected = held is not None and held.verdict == Verdict.REJECTED.value
    turn = turn or (lambda _: SendTime(now))
    if verdict is Verdict.REJECTED:
        corrections.retract_object(conn, track_id, turn, now, reason)
    elif was_rejected:
        corrections.reinstate_object(conn, track_id, turn, now)
    return Review(row["id"], track_id, verdict, created=True)


def _locked_state(conn: Connection, track_id: UUID) -> Row[Any]:
    """Lock the series of an object and load its latest state."""
    values = {"track_id": track_id}
    found = conn.execute(_STATE, values).first()
    if found is not None:
        series.lock(conn, found.series_id)
        found = conn.execute(_STATE, values).first()
    if found is None:
        raise object_not_found(track_id)
    return found


def object_not_found(track_id: UUID) -> NotFound:
    """Build the error for an object that does not exist or that the reader may not see."""
    return NotFound(f"no object {track_id} in the ledger; watch.objects_now lists those that hold")


def _check_relation(conn: Connection, track_id: UUID, drawn: BaseGeometry, observed: Any) -> None:
    """Check that a drawn geometry corrects the object and does not replace it by another one."""
    try:
        common = operations.intersection(drawn, from_ewkb(observed))
    except TooComplex as error:
        raise ReviewRefused(f"outline: {error}; simplify it") from error
    values = {"drawn": to_ewkb(drawn), "observed": observed, "common": to_ewkb(common)}
    row = conn.execute(_RELATION, values).one()
    where = f"draw the outline of object {track_id}, or review the object that lies there"
    if row.apart_m > 0:
        raise ReviewRefused(f"outline: it lies {row.apart_m:.0f} m away from the object; {where}")
    share = row.common_m2 / max(min(row.drawn_m2, row.observed_m2), 1e-9)
    if share < MIN_SHARED:
        raise ReviewRefused(
            f"outline: it shares {share:.1%} with the object, of the smaller of the two; at least "
            f"{MIN_SHARED:.0%} is needed; {where}"
        )
    sizes = f"it has {row.drawn_m2 / 1e4:.4g} ha, the object as observed has {row.observed_m2 / 1e4:.4g} ha"
    if row.drawn_m2 > MAX_GROWTH * row.observed_m2:
        raise ReviewRefused(f"outline: {sizes}; an edit makes it at most {MAX_GROWTH} times as large")
    if row.drawn_m2 * MAX_SHRINKAGE < row.observed_m2:
        raise ReviewRefused(
            f"outline: {sizes}; less than 1/{MAX_SHRINKAGE} of it is no edit, reject the object instead"
        )


def _check(verdict: Verdict, reviewer: str, reason: str, outline: BaseGeometry | None) -> None:
    for name, value in (("reviewer", reviewer), ("reason", reason)):
        if not value.strip() or len(value) > MAX_TEXT_LENGTH:
            raise ReviewRefused(f"{name}: write 1 to {MAX_TEXT_LENGTH} characters (got {len(value)})")
        if to_storable(value) != value:
            raise ReviewRefused(f"{name}: NUL and halves of surrogate pairs cannot be stored; leave them out")
    if (verdict is Verdict.EDITED) != (outline is not None):
        raise ReviewRefused("an outline belongs to the verdict edited, and to no other")
    if outline is None:
        return
    if not isinstance(outline, Polygon | MultiPolygon) or outline.is_empty:
        raise ReviewRefused(f"outline: give a Polygon or MultiPolygon (got {outline.geom_type})")
    try:
        operations.check(outline, max_vertices=MAX_VERTICES)
    except TooComplex as error:
        raise ReviewRefused(f"outline: {error}; simplify it") from error
    if not outline.is_valid:
        raise ReviewRefused(f"outline: {shapely.is_valid_reason(outline)}; repair it")
    if not is_in_degrees(outline):
        raise ReviewRefused("outline: give longitude and latitude in degrees (EPSG:4326)")
