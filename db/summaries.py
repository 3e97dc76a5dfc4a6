"""Area and objects by target, week and administrative area, kept up to date with every fold and review.

``area_by_week`` holds differences: a state of an object adds its area in the week in which it begins and takes it away
in the week in which it ends, so the sum up to a week is what holds at the end of that week. A fold adds what its new
states are worth and takes away what the states that it closed were worth, so its cost follows the scene. Sums are
integers of square centimetres: their order does not matter, and a late scene or a refold ends in the same numbers as
:func:`rebuild_series`.

Verdicts apply: what a reviewed object adds is kept apart in ``reviewed_area`` and replaced as a whole by the next
verdict or fold. Objects wholly outside a narrowed AOI are not counted while that AOI is in force.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from segwatch.db import mutexes
from segwatch.db.tables.summaries import STATUSES

#: Of rows about all ground of a watch.
WHOLE = UUID(int=0)
#: Folds share it; loading administrative areas and rebuilding take it alone.
_MUTEX = "admin areas"

_NAMES = tuple(f"{status}_{what}" for status in STATUSES for what in ("objects", "cm2"))
_COLUMNS = ", ".join(_NAMES)

#: States that a fold closed and added. Reviewed objects are counted apart.
_CHANGED = """
    SELECT n.factor, t.track_id, k.series_id, e.watch_name, k.target, coalesce(t.status, 'not_judged') AS status,
           t.valid, t.geom, t.area_m2
    FROM (SELECT unnest(CAST(:removed AS uuid[])) AS id, -1 AS factor
          UNION ALL SELECT unnest(CAST(:added AS uuid[])), 1) n
    JOIN segwatch.track_state t ON t.id = n.id
    JOIN segwatch.track k ON k.id = t.track_id
    JOIN segwatch.series e ON e.id = k.series_id
    WHERE t.alive AND NOT EXISTS (SELECT 1 FROM segwatch.review r WHERE r.track_id = t.track_id)"""
#: All states of a series as they are known now, but for reviewed objects.
_ALL = """
    SELECT 1 AS factor, t.track_id, k.series_id, e.watch_name, k.target, coalesce(t.status, 'not_judged') AS status,
           t.valid, t.geom, t.area_m2
    FROM segwatch.series e
    JOIN segwatch.track k ON k.series_id = e.id
    JOIN segwatch.track_state t ON t.track_id = k.id
    WHERE e.id = :series_id AND upper_inf(t.recorded) AND t.alive
      AND NOT EXISTS (SELECT 1 FROM segwatch.review r WHERE r.track_id = t.track_id)"""
#: States of reviewed objects with the verdicts applied.
_REVIEWED = """
    SELECT 1 AS factor, h.track_id, k.series_id, e.watch_name, k.target, coalesce(h.status, 'not_judged') AS status,
           h.valid, h.geom, h.area_m2
    FROM segwatch.held_state h
    JOIN segwatch.track k ON k.id = h.track_id
    JOIN segwatch.series e ON e.id = k.series_id
    WHERE h.track_id = ANY(CAST(:tracks AS uuid[])) AND upper_inf(h.known) AND upper_inf(h.recorded) AND h.alive
      AND EXISTS (SELECT 1 FROM segwatch.review r WHERE r.track_id = h.track_id)"""


def _count(states: str, *by: str) -> str:
    """Build the query that counts states by some columns, administrative area and week.

    A state counts in every administrative area that holds a part of it, with the area of that part.
    """
    grouped = ", ".join((*by, "admin_area_id", "week"))
    sums = ", ".join(
        f"CAST(coalesce(sum({of}) FILTER (WHERE status = '{status}'), 0) AS bigint) AS {status}_{name}"
        for status in STATUSES
        for of, name in (("objects", "objects"), ("change_cm2", "cm2"))
    )
    return f"""
    WITH state AS MATERIALIZED ({states}
    ), shown AS (
        SELECT s.*, p.valid AS span
        FROM state s
        CROSS JOIN LATERAL unnest(tstzmultirange(s.valid) - coalesce((
            SELECT range_agg(tstzrange(n.since, n.until)) FROM segwatch.narrowed_area n
            WHERE n.watch_name = s.watch_name AND (NOT ST_Intersects(s.geom, n.geom) OR ST_Touches(s.geom, n.geom))),
            '{{}}')) AS p(valid)
    ), placed AS (
        SELECT s.factor, s.track_id, s.series_id, s.target, s.status, s.span,
               CAST('{WHOLE}' AS uuid) AS admin_area_id, CAST(round(s.area_m2 * 10000) AS bigint) AS area_cm2
        FROM shown s
        UNION ALL
        SELECT s.factor, s.track_id, s.series_id, s.target, s.status, s.span, i.admin_area_id, i.area_cm2
        FROM shown s
        CROSS JOIN LATERAL (
            SELECT p.admin_area_id, CAST(round(10000 * sum(
                       CASE WHEN ST_CoveredBy(s.geom, p.geom) THEN s.area_m2
                            ELSE ST_Area(CAST(ST_Intersection(s.geom, p.geom) AS geography)) END)) AS bigint)
                       AS area_cm2
            FROM segwatch.admin_area_part p
            WHERE ST_Intersects(s.geom, p.geom)
            GROUP BY p.admin_area_id) i
        WHERE i.area_cm2 > 0
    ), step AS (
        SELECT p.*, p.factor AS objects, p.factor * p.area_cm2 AS change_cm2,
               CAST(date_trunc('week', lower(p.span) AT TIME ZONE 'UTC') AS date) AS week
        FROM placed p
        UNION ALL
        SELECT p.*, -p.factor, -p.factor * p.area_cm2,
               CAST(date_trunc('week', upper(p.span) AT TIME ZONE 'UTC') AS date)
        FROM placed p WHERE NOT upper_inf(p.span)
    )
    SELECT {grouped}, {sums}
    FROM step GROUP BY {grouped}"""  # noqa: S608 - parts of this file


def _add(counted: str) -> TextClause:
    """Build the statement that adds counts to ``area_by_week``."""
    return text(
        f"""
        INSERT INTO segwatch.area_by_week AS a (series_id, target, admin_area_id, week, {_COLUMNS})
        SELECT series_id, target, admin_area_id, week, {_COLUMNS} FROM ({counted}) n
        ORDER BY series_id, target, admin_area_id, week
        ON CONFLICT (series_id, admin_area_id, target, week) DO UPDATE
        SET {", ".join(f"{name} = a.{name} + excluded.{name}" for name in _NAMES)}
        """  # noqa: S608 - parts of this file
    )


_BY_SERIES = ("series_id", "target")
_ADD_CHANGED = _add(_count(_CHANGED, *_BY_SERIES))
_ADD_ALL = _add(_count(_ALL, *_BY_SERIES))
#: What reviewed objects add, or take away again.
_ADD_REVIEWED, _TAKE_REVIEWED = (
    _add(
        f"""
        SELECT k.series_id, k.target, v.admin_area_id, v.week,
               {", ".join(f"{sign} CAST(sum(v.{name}) AS bigint) AS {name}" for name in _NAMES)}
        FROM segwatch.reviewed_area v JOIN segwatch.track k ON k.id = v.track_id
        WHERE v.track_id = ANY(CAST(:tracks AS uuid[]))
        GROUP BY k.series_id, k.target, v.admin_area_id, v.week"""  # noqa: S608 - parts of this file
    )
    for sign in ("", "-")
)
_DROP_REVIEWED = text("DELETE FROM segwatch.reviewed_area WHERE track_id = ANY(CAST(:tracks AS uuid[]))")
_KEEP_REVIEWED = text(
    f"""
    INSERT INTO segwatch.reviewed_area (track_id, admin_area_id, week, {_COLUMNS})
    {_count(_REVIEWED, "track_id")}
    """
)
_WHICH_REVIEWED = text(
    """
    SELECT n.id FROM unnest(CAST(:tracks AS uuid[])) AS n(id)
    WHERE EXISTS (SELECT 1 FROM segwatch.review r WHERE r.track_id = n.id) ORDER BY n.id
    """
)
_REVIEWED_OF_SERIES = text(
    """
    SELECT k.id FROM segwatch.track k
    WHERE k.series_id = :series_id AND EXISTS (SELECT 1 FROM segwatch.review r WHERE r.track_id = k.id) ORDER BY k.id
    """
)
_CURRENT_STATES = text(
    "SELECT id FROM segwatch.track_state WHERE track_id = :track_id AND upper_inf(recorded) ORDER BY id"
)
#: Weeks of some observations; those of which an observation holds are measured anew.
_DROP_OBSERVED = text(
    """
    DELETE FROM segwatch.observed_by_week
    WHERE series_id = :series_id AND week IN (
        SELECT CAST(date_trunc('week', o.acquired_at AT TIME ZONE 'UTC') AS date)
        FROM segwatch.observation o WHERE o.id = ANY(CAST(:ids AS uuid[])))
    """
)
#: Ground that the observations of a week show, in pieces of few vertices. Administrative areas that meet an AOI of the
#: week have a row even if nothing of them was observed.
_OBSERVED = text(
    f"""
    WITH week AS (
        SELECT DISTINCT CAST(date_trunc('week', o.acquired_at AT TIME ZONE 'UTC') AS date) AS week
        FROM segwatch.observation o WHERE o.id = ANY(CAST(:ids AS uuid[]))
    ), seen AS MATERIALIZED (
        SELECT w.week, o.footprint, o.acquired_at, o.scene_id, v.area_id
        FROM week w
        JOIN segwatch.observation o
          ON o.series_id = :series_id AND o.state = 'observed' AND o.superseded_at IS NULL AND o.footprint IS NOT NULL
         AND o.acquired_at >= w.week AT TIME ZONE 'UTC' AND o.acquired_at < (w.week + 7) AT TIME ZONE 'UTC'
        JOIN segwatch.watch v ON v.id = o.revision_id
    ), ground AS MATERIALIZED (
        SELECT s.week, count(*) AS scenes,
               CASE count(*) WHEN 1 THEN (array_agg(s.footprint))[1]
                    ELSE ST_Union(s.footprint ORDER BY s.acquired_at, s.scene_id) END AS geom
        FROM seen s GROUP BY s.week
    ), part AS MATERIALIZED (
        SELECT DISTINCT ON (a.week, p.admin_area_id, p.ordinal) a.week, p.admin_area_id, p.ordinal, p.geom
        FROM (SELECT DISTINCT week, area_id FROM seen) a
        JOIN segwatch.area g ON g.id = a.area_id
        JOIN segwatch.admin_area_part p ON ST_Intersects(g.geom, p.geom)
    ), piece AS MATERIALIZED (
        SELECT g.week, ST_Subdivide(g.geom, 128) AS geom FROM ground g
        WHERE EXISTS (SELECT 1 FROM part p WHERE p.week = g.week)
    ), measured AS (
        SELECT g.week, CAST('{WHOLE}' AS uuid) AS admin_area_id, g.scenes,
               ST_Area(CAST(g.geom AS geography)) AS observed_m2
        FROM ground g
        UNION ALL
        SELECT p.week, p.admin_area_id,
               (SELECT count(*) FROM seen s WHERE s.week = p.week AND EXISTS (
                    SELECT 1 FROM part q WHERE q.week = p.week AND q.admin_area_id = p.admin_area_id
                      AND ST_Intersects(s.footprint, q.geom))),
               coalesce((SELECT sum(ST_Area(CAST(ST_Intersection(e.geom, q.geom) AS geography))
                                    ORDER BY q.ordinal, ST_XMin(e.geom), ST_YMin(e.geom))
                         FROM part q JOIN piece e ON e.week = q.week AND ST_Intersects(e.geom, q.geom)
                         WHERE q.week = p.week AND q.admin_area_id = p.admin_area_id), 0)
        FROM (SELECT DISTINCT week, admin_area_id FROM part) p
    )
    INSERT INTO segwatch.observed_by_week (series_id, admin_area_id, week, scenes, observed_m2)
    SELECT :series_id, admin_area_id, week, scenes, round(observed_m2) FROM measured
    ORDER BY week, admin_area_id
    """  # noqa: S608 - a constant
)
_PUBLISHED = text(
    """
    SELECT o.id FROM segwatch.observation o
    WHERE o.series_id = :series_id AND o.state = 'observed' AND o.superseded_at IS NULL
    """
)
_DROP = tuple(
    text(statement)
    for statement in (
        "DELETE FROM segwatch.area_by_week WHERE series_id = :series_id",
        "DELETE FROM segwatch.observed_by_week WHERE series_id = :series_id",
        """
        DELETE FROM segwatch.reviewed_area v USING segwatch.track k
        WHERE k.id = v.track_id AND k.series_id = :series_id
        """,
    )
)
_SERIES_OF_WATCH = text("SELECT id FROM segwatch.series WHERE watch_name = :watch ORDER BY id")
_ALL_SERIES = text("SELECT id FROM segwatch.series ORDER BY id")
_WITHOUT_SUMMARY = text(
    """
    SELECT s.id FROM segwatch.series s
    WHERE EXISTS (SELECT 1 FROM segwatch.observation o
                  WHERE o.series_id = s.id AND o.state = 'observed' AND o.superseded_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM segwatch.observed_by_week w WHERE w.series_id = s.id)
    ORDER BY s.id
    """
)
#: Counting a whole history may take longer than a statement of a fold.
_UNLIMITED = text("SET LOCAL statement_timeout = 0")


@dataclass(frozen=True, slots=True)
class StateChanges:
    """Ids of states that a fold closed and added."""

    removed: tuple[UUID, ...] = ()
    added: tuple[UUID, ...] = ()


def follow_fold(
    conn: Connection,
    series_id: UUID,
    changes: StateChanges,
    observations: Collection[UUID],
    tracks: Iterable[UUID],
) -> None:
    """Count what a fold closed and added, once its states and changes are written.

    Parameters
    ----------
    conn
        Holds the lock of the series.
    changes
        States of objects of the series.
    observations
        Observations that were published or replaced.
    tracks
        Tracks whose states or changes the fold may have written.
    """
    mutexes.share(conn, _MUTEX)
    states = {"removed": list(changes.removed), "added": list(changes.added)}
    conn.execute(_ADD_CHANGED, states)
    refresh_reviewed(conn, tracks)
    values = {"series_id": series_id, "ids": sorted(observations)}
    conn.execute(_DROP_OBSERVED, values)
    conn.execute(_OBSERVED, values)


def begin_review(conn: Connection, track_id: UUID) -> None:
    """Take away what an object without a review adds; its first review follows, then :func:`refresh_reviewed`."""
    mutexes.share(conn, _MUTEX)
    states = list(conn.execute(_CURRENT_STATES, {"track_id": track_id}).scalars())
    conn.execute(_ADD_CHANGED, {"removed": states, "added": []})


def refresh_reviewed(conn: Connection, track_ids: Iterable[UUID]) -> None:
    """Count the reviewed objects among some anew."""
    mutexes.share(conn, _MUTEX)
    tracks = {"tracks": list(conn.execute(_WHICH_REVIEWED, {"tracks": sorted(track_ids)}).scalars())}
    if tracks["tracks"]:
        conn.execute(_TAKE_REVIEWED, tracks)
        conn.execute(_DROP_REVIEWED, tracks)
        conn.execute(_KEEP_REVIEWED, tracks)
        conn.execute(_ADD_REVIEWED, tracks)


def rebuild_all(conn: Connection) -> None:
    """Count every series anew from its history, after administrative areas changed."""
    _rebuild(conn, _ALL_SERIES)


def rebuild_watch(conn: Connection, watch: str) -> None:
    """Count every series of a watch anew from its history, after its AOI changed."""
    _rebuild(conn, _SERIES_OF_WATCH, watch=watch)


def build_missing(conn: Connection) -> None:
    """Count the series that an earlier version published."""
    _rebuild(conn, _WITHOUT_SUMMARY)


def hold(conn: Connection) -> None:
    """Keep folds from counting until the end of the transaction, waiting for those that count now."""
    mutexes.lock(conn, _MUTEX)


def _rebuild(conn: Connection, which: TextClause, **values: object) -> None:
    hold(conn)
    conn.execute(_UNLIMITED)
    for series_id in conn.execute(which, values).scalars().all():
        rebuild_series(conn, series_id)


def rebuild_series(conn: Connection, series_id: UUID) -> None:
    """Count a series anew from its history; the transaction holds :func:`hold`."""
    of_series = {"series_id": series_id}
    for statement in _DROP:
        conn.execute(statement, of_series)
    conn.execute(_ADD_ALL, of_series)
    refresh_reviewed(conn, conn.execute(_REVIEWED_OF_SERIES, of_series).scalars().all())
    conn.execute(_OBSERVED, {**of_series, "ids": conn.execute(_PUBLISHED, of_series).scalars().all()})
