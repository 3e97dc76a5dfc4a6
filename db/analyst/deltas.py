"""What became known of a watch since an earlier reading: objects and changes inserted, changed, ended or retracted.

A reading is described by its position: the latest recorded time of each series that it saw. Recorded times of a series
are handed out under the lock of its row (:func:`segwatch.db.publishing.next_recorded_time`) and grow with the order of
commits, so whatever a reading did not see is recorded later than its position: nothing is missed, however long a
transaction stays open, and nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db import watches
from segwatch.db.analyst.exports import (
    CHANGE_ROWS,
    OBJECT_ROWS,
    ORIGIN,
    PER_TARGET,
    STATE,
    Selection,
    iter_parts,
)
from segwatch.db.errors import UnknownPosition

_POSITION = text(
    """
    SELECT s.id, s.recorded_to, f.series_id IS NOT NULL AS in_force
    FROM segwatch.series s LEFT JOIN segwatch.current_series f ON f.series_id = s.id
    WHERE s.watch_name = :watch AND s.recorded_to IS NOT NULL ORDER BY s.id
    """
)
_AREA = text("SELECT area_id FROM segwatch.watch_area WHERE watch_name = :watch AND until IS NULL")
#: A recorded time that the ledger gave out is the time of a publication, a replacement or a verdict.
_IS_KNOWN = text(
    """
    SELECT EXISTS (SELECT 1 FROM segwatch.observation o
                   WHERE o.series_id = :series_id AND (o.committed_at = :at OR o.superseded_at = :at))
        OR EXISTS (SELECT 1 FROM segwatch.review r JOIN segwatch.track k ON k.id = r.track_id
                   WHERE k.series_id = :series_id AND r.decided_at = :at)
    """
)
_CLOCK = """
    clock AS MATERIALIZED (
        SELECT c.series_id, c.known_at, c.was_in_force,
               c.series_id IN (SELECT f.series_id FROM segwatch.current_series f) AS is_in_force
        FROM unnest(CAST(:series AS uuid[]), CAST(:heard AS timestamptz[]), CAST(:were_in_force AS boolean[]))
             AS c(series_id, known_at, was_in_force))"""
_IN_BOUNDS = "(CAST(:bounds AS geometry) IS NULL OR ST_Intersects(t.geom, CAST(:bounds AS geometry)))"
_OUTSIDE = "(NOT ST_Intersects(t.geom, {area}) OR ST_Touches(t.geom, {area}))"
#: Tracks whose latest state may differ: those with a state or verdict recorded later, or all if the AOI or the series
#: in force changed. ``present`` is what holds now, ``past`` what the position showed of them, in the AOI of that time.
_OBJECTS = text(
    f"""
WITH {ORIGIN}, {PER_TARGET.format(subject="object")}, {_CLOCK},
touched AS MATERIALIZED (
    SELECT t.track_id, c.known_at FROM segwatch.track_state t
    JOIN segwatch.track k ON k.id = t.track_id JOIN clock c ON c.series_id = k.series_id
    WHERE upper_inf(t.valid) AND lower(t.recorded) > CAST(:least AS timestamptz) AND lower(t.recorded) > c.known_at
    UNION
    SELECT t.track_id, c.known_at FROM segwatch.track_state t
    JOIN segwatch.track k ON k.id = t.track_id JOIN clock c ON c.series_id = k.series_id
    WHERE upper_inf(t.valid) AND NOT upper_inf(t.recorded) AND upper(t.recorded) > CAST(:least AS timestamptz)
      AND upper(t.recorded) > c.known_at
    UNION
    SELECT r.track_id, c.known_at FROM segwatch.review r
    JOIN segwatch.track k ON k.id = r.track_id JOIN clock c ON c.series_id = k.series_id
    WHERE r.decided_at > c.known_at
    UNION
    SELECT k.id, c.known_at FROM clock c JOIN segwatch.track k ON k.series_id = c.series_id
    WHERE CAST(:all AS boolean)
),
present AS MATERIALIZED (
    SELECT t.*, n.known_at FROM touched n JOIN segwatch.held_state t ON t.track_id = n.track_id
    JOIN segwatch.track k ON k.id = t.track_id JOIN clock c ON c.series_id = k.series_id
    WHERE upper_inf(t.valid) AND upper_inf(t.known) AND upper_inf(t.recorded) AND t.alive AND c.is_in_force
      AND {_IN_BOUNDS}
      AND NOT EXISTS (SELECT 1 FROM segwatch.narrowed_area a WHERE a.watch_name = :watch AND a.until IS NULL
                      AND {_OUTSIDE.format(area="a.geom")})
),
past AS MATERIALIZED (
    SELECT t.* FROM touched n JOIN segwatch.held_state t ON t.track_id = n.track_id
    JOIN segwatch.track k ON k.id = t.track_id JOIN clock c ON c.series_id = k.series_id
    WHERE upper_inf(t.valid) AND t.recorded @> n.known_at AND t.alive AND c.was_in_force AND {_IN_BOUNDS}
      AND NOT EXISTS (SELECT 1 FROM segwatch.watch_area a JOIN segwatch.area g ON g.id = a.area_id
                      WHERE a.watch_name = :watch AND a.area_id = CAST(:area AS uuid) AND a.narrowed
                        AND {_OUTSIDE.format(area="g.geom")})
),
state AS (
    SELECT {STATE}, lower(t.valid) AS valid_begin, CAST(NULL AS timestamptz) AS valid_end,
           CASE WHEN EXISTS (SELECT 1 FROM past b WHERE b.track_id = t.track_id) THEN 'changed' ELSE 'inserted' END
               AS delta
    FROM present t
    WHERE lower(t.recorded) > t.known_at OR NOT EXISTS (SELECT 1 FROM past b WHERE b.track_id = t.track_id)
    UNION ALL
    SELECT {STATE}, lower(t.valid), lower(e.valid), CASE WHEN e.track_id IS NULL THEN 'retracted' ELSE 'ended' END
    FROM past t
    LEFT JOIN LATERAL (
        SELECT e.track_id, e.valid FROM segwatch.held_state e
        JOIN segwatch.track k ON k.id = e.track_id JOIN clock c ON c.series_id = k.series_id
        WHERE e.track_id = t.track_id AND upper_inf(e.valid) AND upper_inf(e.known) AND upper_inf(e.recorded)
          AND NOT e.alive AND c.is_in_force LIMIT 1) e ON true
    WHERE NOT EXISTS (SELECT 1 FROM present p WHERE p.track_id = t.track_id)
)
{OBJECT_ROWS}"""  # noqa: S608 - parts of this file
)
#: Changes that were recorded, retracted, reinstated, measured or judged anew, or whose object got a verdict.
_CHANGES = text(
    f"""
WITH {ORIGIN}, {PER_TARGET.format(subject="change")}, {_CLOCK},
touched AS MATERIALIZED (
    SELECT h.id FROM segwatch.change h WHERE h.altered_at > CAST(:least AS timestamptz)
    UNION
    SELECT j.change_id FROM segwatch.change_judgement j WHERE lower(j.recorded) > CAST(:least AS timestamptz)
    UNION
    SELECT j.change_id FROM segwatch.change_judgement j
    WHERE NOT upper_inf(j.recorded) AND upper(j.recorded) > CAST(:least AS timestamptz)
    UNION
    SELECT h.id FROM segwatch.review r JOIN segwatch.change h ON h.track_id = r.track_id
    WHERE r.decided_at > CAST(:least AS timestamptz)
),
held AS (
    SELECT h.*, CASE WHEN h.retracted_at IS NOT NULL THEN 'retracted'
                     WHEN h.recorded_at > c.known_at THEN 'inserted' ELSE 'changed' END AS delta
    FROM touched n
    JOIN segwatch.held_change h ON h.id = n.id
    JOIN segwatch.change s ON s.id = n.id
    JOIN segwatch.track k ON k.id = h.track_id
    JOIN clock c ON c.series_id = k.series_id
    WHERE NOT h.baseline AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(h.geom, CAST(:bounds AS geometry)))
      -- what was retracted is told once, and not at all if it was never told
      AND (h.retracted_at IS NULL OR h.retracted_at > c.known_at AND h.recorded_at <= c.known_at)
      AND (h.retracted_at IS NOT NULL OR s.altered_at > c.known_at
           OR EXISTS (SELECT 1 FROM segwatch.change_judgement j WHERE j.change_id = h.id
                      AND (lower(j.recorded) > c.known_at OR upper(j.recorded) > c.known_at))
           OR EXISTS (SELECT 1 FROM segwatch.review r WHERE r.track_id = h.track_id AND r.decided_at > c.known_at))
)
{CHANGE_ROWS}"""  # noqa: S608 - parts of this file
)


@dataclass(frozen=True, slots=True)
class SeriesPosition:
    """What a reading saw of a series."""

    series_id: UUID
    recorded_to: datetime
    """Latest recorded time that it saw, UTC."""
    in_force: bool
    """Whether its objects were shown."""


@dataclass(frozen=True, slots=True)
class Position:
    """What a reading saw of a watch."""

    series: tuple[SeriesPosition, ...]
    area_id: UUID | None
    """The AOI that objects were shown in."""


def read_position(conn: Connection, watch: str) -> Position:
    """Read the position of this snapshot; what is committed later is later than it.

    Raises
    ------
    UnknownWatch
        No watch has this name.
    """
    watches.require(conn, watch)
    area = conn.execute(_AREA, {"watch": watch}).scalar_one_or_none()
    rows = conn.execute(_POSITION, {"watch": watch}).all()
    return Position(tuple(SeriesPosition(row.id, row.recorded_to, row.in_force) for row in rows), area)


def check_position(conn: Connection, watch: str, position: Position) -> None:
    """Check that a position is one of this ledger's past.

    Raises
    ------
    UnknownPosition
        This ledger never was there: it is another one, or was restored to an earlier time.
    """
    present = {one.series_id: one for one in read_position(conn, watch).series}
    for one in position.series:
        known = (
            one.series_id in present
            and conn.execute(_IS_KNOWN, {"series_id": one.series_id, "at": one.recorded_to}).scalar_one()
        )
        if not known:
            raise UnknownPosition(
                "this token is not of this ledger, or the ledger was restored to a time before it; export the whole "
                "watch once without --since, and go on from the token of that export"
            )


def iter_object_deltas(
    conn: Connection, selection: Selection, since: Position, now: Position
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield what became known of the present objects of a watch since a position, in rows as of whole exports.

    ``delta`` is ``inserted`` (not shown then, shown now), ``changed``, ``ended`` (gone from the ground, since
    ``valid_end``) or ``retracted`` (never there, as is known now, or no longer in the AOI or the series in force).

    Parameters
    ----------
    selection
        ``at`` and ``known_at`` are None.
    now
        The position of this snapshot.
    """
    shown = {one.series_id for one in since.series if one.in_force}
    shows = {one.series_id for one in now.series if one.in_force}
    whole = shown != shows or since.area_id != now.area_id
    series = sorted(shown | shows if whole else shows & _list_advanced(since, now))
    values = {
        **_describe(series, since),
        "were_in_force": [one in shown for one in series],
        "area": since.area_id,
        "all": whole,
    }
    return iter_parts(conn, _OBJECTS, {**selection.values, **values})


def iter_change_deltas(
    conn: Connection, selection: Selection, since: Position, now: Position
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the changes of a watch that were recorded, judged or retracted since a position.

    Parameters are as in :func:`iter_object_deltas`. ``delta`` is ``inserted``, ``changed`` or ``retracted``; a change
    that was retracted and holds again is ``changed``.
    """
    series = sorted(_list_advanced(since, now))
    values = {**_describe(series, since), "were_in_force": [True] * len(series)}
    return iter_parts(conn, _CHANGES, {**selection.values, **values})


def _list_advanced(since: Position, now: Position) -> set[UUID]:
    """List the series in which something was recorded: a series of the past must not make every feed read it again."""
    heard = {one.series_id: one.recorded_to for one in since.series}
    return {one.series_id for one in now.series if heard.get(one.series_id) != one.recorded_to}


def _describe(series: Sequence[UUID], since: Position) -> Mapping[str, object]:
    """Say of series up to which recorded time they were read; of new ones, nothing was."""
    heard = {one.series_id: one.recorded_to for one in since.series}
    times = [heard.get(one, datetime.min.replace(tzinfo=UTC)) for one in series]
    return {
        "series": list(series),
        "heard": times,
        "least": min(times, default=datetime.max.replace(tzinfo=UTC)),
    }
