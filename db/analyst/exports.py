"""Objects and changes of a watch as exports write them: every attribute in one row, read in order of ids.

Rows are read through a cursor of the server, so that memory does not grow with the watch. The columns are
:data:`OBJECT_COLUMNS` and :data:`CHANGE_COLUMNS`; :mod:`segwatch.flows.export.schema` gives their types and units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Engine, TextClause, text

from segwatch.db.codec import to_ewkb
from segwatch.geo import identity

#: Rows that are fetched together.
_FETCHED = 500
#: ``infinity`` includes everything recorded, and the present.
_NOW = "infinity"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a watch to read."""

    watch: str
    at: datetime | None = None
    """When objects were there, or until when changes happened, UTC; None = now."""
    known_at: datetime | None = None
    """Use what was recorded up to then, UTC; None = everything recorded so far."""
    bounds: BaseGeometry | None = None
    """Only what intersects this geometry, EPSG:4326; None = everywhere."""

    @property
    def values(self) -> dict[str, object]:
        """Parameters of the queries."""
        return {
            "watch": self.watch,
            "at": self.at or _NOW,
            "known": self.known_at or _NOW,
            "demonstration": list(identity.DEMONSTRATION_MODELS),
            "bounds": None if self.bounds is None else to_ewkb(self.bounds),
        }


#: Where rows of a watch come from, once per observation instead of once per row.
ORIGIN = """
    origin AS MATERIALIZED (
        SELECT p.observation_id, p.scene_id, p.watch, p.instruction,
               split_part(p.model, '@', 1) AS model, nullif(split_part(p.model, '@', 2), '') AS model_version,
               CASE WHEN split_part(p.model, '@', 1) = ANY(CAST(:demonstration AS text[]))
                    THEN 'demonstration model' END AS model_mark,
               CAST(to_json(p.item_hrefs) AS text) AS item_links
        FROM segwatch.provenance p WHERE p.watch = :watch)"""
_ACCURACY = """
       segwatch.describe_accuracy(p.model_mark IS NOT NULL, c.words) AS accuracy,
       CAST(c.estimates -> 'users' ->> 'value' AS float8) AS users_accuracy,
       CAST(c.estimates -> 'users' ->> 'low' AS float8) AS users_accuracy_low,
       CAST(c.estimates -> 'users' ->> 'high' AS float8) AS users_accuracy_high,
       CAST(c.estimates -> 'producers' ->> 'value' AS float8) AS producers_accuracy,
       CAST(c.estimates -> 'producers' ->> 'low' AS float8) AS producers_accuracy_low,
       CAST(c.estimates -> 'producers' ->> 'high' AS float8) AS producers_accuracy_high"""
#: Polygons as multipolygons, because formats with typed layers hold one type.
_GEOMETRY = (
    "ST_AsBinary(ST_Multi(CASE WHEN GeometryType({one}) = 'GEOMETRYCOLLECTION'"
    " THEN ST_CollectionExtract({one}, 3) ELSE {one} END)) AS geometry"
)

#: Columns that the queries below read of a state.
STATE = """t.track_id, t.observation_id, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen, t.last_looked,
           t.confidence, t.status, t.observations_for, t.observations_against, t.verdict,
           lower(t.recorded) AS recorded_begin"""
#: Turns rows of ``state`` into rows of an export.
OBJECT_ROWS = f"""
SELECT CAST(t.track_id AS text) AS id, CAST(k.object_id AS text) AS object_id, p.watch,
       CAST(k.series_id AS text) AS series_id, k.target, p.instruction, p.model,
       p.model_version, p.model_mark, o.presence, t.score, t.confidence,
       segwatch.interpolate(t.confidence, a.raw, a.calibrated) AS confidence_calibrated, t.status,
       t.observations_for, t.observations_against, t.first_seen, t.last_seen, t.last_looked, t.valid_begin,
       t.valid_end, t.recorded_begin, t.area_m2, l.kind AS last_change, l.valid_at AS last_change_at,
       t.verdict AS review, CAST(t.observation_id AS text) AS observation_id,
       CAST(p.scene_id AS text) AS scene_id, p.item_links, {_ACCURACY}, t.delta,
       {_GEOMETRY.format(one="t.geom")}
FROM state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN origin p ON p.observation_id = t.observation_id
LEFT JOIN segwatch.target_presence o ON o.observation_id = t.observation_id AND o.target = k.target
LEFT JOIN calibrated a ON a.series_id = k.series_id AND a.target = k.target
LEFT JOIN assessed c ON c.series_id = k.series_id AND c.target = k.target
LEFT JOIN LATERAL (
    SELECT h.kind, h.valid_at FROM segwatch.held_change h
    WHERE h.track_id = t.track_id AND NOT h.baseline AND h.status IS DISTINCT FROM 'refuted'
      AND h.valid_at <= CAST(:at AS timestamptz) AND h.recorded_at <= CAST(:known AS timestamptz)
      AND (h.retracted_at IS NULL OR h.retracted_at > CAST(:known AS timestamptz))
    ORDER BY h.valid_at DESC, segwatch.change_rank(h.kind), h.id LIMIT 1) l ON true
ORDER BY t.track_id
"""  # noqa: S608 - parts of this file
#: What belongs to a series and target, once instead of once per row.
PER_TARGET = """
    calibrated AS MATERIALIZED (
        SELECT n.series_id, n.target, n.raw, n.calibrated FROM segwatch.current_calibration n
        WHERE n.subject = '{subject}'),
    assessed AS MATERIALIZED (
        SELECT n.series_id, n.target, n.words, n.estimates FROM segwatch.current_accuracy n)"""
#: Objects wholly outside the AOI of that time are not shown; see ``watch.objects_as_of``.
_OBJECTS = text(
    f"""
WITH {ORIGIN}, {PER_TARGET.format(subject="object")},
state AS (
    SELECT {STATE}, lower(t.valid) AS valid_begin, upper(t.valid) AS valid_end, CAST(NULL AS text) AS delta
    FROM segwatch.held_state t
    JOIN segwatch.track k ON k.id = t.track_id
    JOIN segwatch.series_in_force(CAST(:known AS timestamptz)) f
      ON f.series_id = k.series_id AND f.watch_name = :watch AND f.valid @> CAST(:at AS timestamptz)
    WHERE t.valid @> CAST(:at AS timestamptz) AND t.recorded @> CAST(:known AS timestamptz) AND t.alive
      AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(t.geom, CAST(:bounds AS geometry)))
      AND NOT EXISTS (
          SELECT 1 FROM segwatch.narrowed_area n
          WHERE n.watch_name = :watch AND n.since <= least(CAST(:at AS timestamptz), CAST(:known AS timestamptz))
            AND (n.until IS NULL OR n.until > least(CAST(:at AS timestamptz), CAST(:known AS timestamptz)))
            AND (NOT ST_Intersects(t.geom, n.geom) OR ST_Touches(t.geom, n.geom))))
{OBJECT_ROWS}"""  # noqa: S608 - parts of this file
)
#: Turns rows of ``held`` into rows of an export.
CHANGE_ROWS = f"""
SELECT CAST(h.id AS text) AS id, CAST(h.track_id AS text) AS track_id, CAST(k.object_id AS text) AS object_id,
       p.watch, CAST(k.series_id AS text) AS series_id, h.target, p.instruction, p.model,
       p.model_version, p.model_mark, h.kind AS change, o.presence, h.score, h.confidence,
       segwatch.interpolate(h.confidence, a.raw, a.calibrated) AS confidence_calibrated, h.status,
       h.observations_for, h.observations_against, h.valid_at, h.earliest, h.latest, h.recorded_at, h.retracted_at,
       h.retracted_because, h.before_m2, h.after_m2, h.verdict AS review,
       CAST(h.observation_id AS text) AS observation_id, CAST(p.scene_id AS text) AS scene_id, p.item_links,
       {_ACCURACY}, h.delta, {_GEOMETRY.format(one="h.geom")}
FROM held h
JOIN segwatch.track k ON k.id = h.track_id
JOIN origin p ON p.observation_id = h.observation_id
LEFT JOIN segwatch.target_presence o ON o.observation_id = h.observation_id AND o.target = h.target
LEFT JOIN calibrated a ON a.series_id = k.series_id AND a.target = h.target
LEFT JOIN assessed c ON c.series_id = k.series_id AND c.target = h.target
ORDER BY h.id
"""  # noqa: S608 - parts of this file
_CHANGES = text(
    f"""
WITH {ORIGIN}, {PER_TARGET.format(subject="change")},
held AS (
    SELECT c.*, CAST(NULL AS text) AS delta FROM segwatch.held_change c
    WHERE c.observation_id IN (SELECT observation_id FROM origin) AND NOT c.baseline
      AND c.valid_at <= CAST(:at AS timestamptz) AND c.recorded_at <= CAST(:known AS timestamptz)
      AND (c.retracted_at IS NULL OR c.retracted_at > CAST(:known AS timestamptz))
      AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(c.geom, CAST(:bounds AS geometry))))
{CHANGE_ROWS}"""  # noqa: S608 - parts of this file
)
#: States of objects as known now, for the time slider.
_HISTORY = text(
    """
    SELECT concat_ws('/', t.track_id, to_char(t.valid_from, 'YYYYMMDD"T"HH24MISS'), t.observation_id) AS id,
           CAST(t.track_id AS text) AS track_id, CAST(t.object_id AS text) AS object_id, t.target, t.change, t.baseline,
           t.score, t.confidence, t.status, t.valid_from AS valid_begin, t.valid_to AS valid_end, t.area_m2,
           CAST(t.observation_id AS text) AS observation_id, ST_AsBinary(ST_Multi(t.geom)) AS geometry
    FROM watch.object_history t
    WHERE t.watch = :watch AND t.in_force AND t.alive AND t.valid_from <= CAST(:at AS timestamptz)
      AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(t.geom, CAST(:bounds AS geometry)))
    ORDER BY t.track_id, t.valid_from, t.observation_id
    """
)
#: The whole result is read: a plan that returns its first rows soon may take far longer for the rest.
_READ_WHOLE = text("SET LOCAL cursor_tuple_fraction = 1")

_ACCURACY_COLUMNS = (
    "accuracy", "users_accuracy", "users_accuracy_low", "users_accuracy_high", "producers_accuracy",
    "producers_accuracy_low", "producers_accuracy_high",
)  # fmt: skip
OBJECT_COLUMNS = (
    "id", "object_id", "watch", "series_id", "target", "instruction", "model", "model_version", "model_mark",
    "presence", "score", "confidence", "confidence_calibrated", "status", "observations_for", "observations_against",
    "first_seen", "last_seen", "last_looked", "valid_begin", "valid_end", "recorded_begin", "area_m2", "last_change",
    "last_change_at", "review", "observation_id", "scene_id", "item_links", *_ACCURACY_COLUMNS, "delta", "geometry",
)  # fmt: skip
CHANGE_COLUMNS = (
    "id", "track_id", "object_id", "watch", "series_id", "target", "instruction", "model", "model_version",
    "model_mark", "change", "presence", "score", "confidence", "confidence_calibrated", "status", "observations_for",
    "observations_against", "valid_at", "earliest", "latest", "recorded_at", "retracted_at", "retracted_because",
    "before_m2", "after_m2", "review", "observation_id", "scene_id", "item_links", *_ACCURACY_COLUMNS, "delta",
    "geometry",
)  # fmt: skip
HISTORY_COLUMNS = (
    "id", "track_id", "object_id", "target", "change", "baseline", "score", "confidence", "status", "valid_begin",
    "valid_end", "area_m2", "observation_id", "geometry",
)  # fmt: skip


@contextmanager
def open_snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a read-only transaction whose queries all see the ledger as it is now."""
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with snapshot.connect() as conn:
        yield conn


def iter_objects(conn: Connection, selection: Selection) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the objects of a watch in parts of some hundred rows of :data:`OBJECT_COLUMNS`, in order of id.

    ``geometry`` is WKB, EPSG:4326, and times are aware.
    """
    return iter_parts(conn, _OBJECTS, selection.values)


def iter_changes(conn: Connection, selection: Selection) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the changes of a watch that hold, in parts of rows of :data:`CHANGE_COLUMNS`, in order of id.

    The baseline is no change and is left out.
    """
    return iter_parts(conn, _CHANGES, selection.values)


def iter_history(conn: Connection, selection: Selection) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield every state of the objects of a watch as known now, in parts of rows of :data:`HISTORY_COLUMNS`."""
    return iter_parts(conn, _HISTORY, selection.values)


def iter_parts(
    conn: Connection, query: TextClause, values: dict[str, object]
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the rows of a query in parts, as the server makes them."""
    conn.execute(_READ_WHOLE)
    result = conn.execute(
        query, values, execution_options={"stream_results": True, "max_row_buffer": _FETCHED}
    )
    # without a number, the whole result would be one part
    yield from result.partitions(_FETCHED)
