"""Events of the world in the ledger: one row per revision; nothing that a feed once said is lost."""

from __future__ import annotations

import enum
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from segwatch.db.codec import ewkb, from_ewkb
from segwatch.db.ids import make_id
from segwatch.geo.types import Event, EventKind, EventLevel


class Recorded(enum.StrEnum):
    """What an event was to the ledger."""

    NEW = "new"
    REVISED = "revised"
    UNCHANGED = "unchanged"
    #: older than the revision that the ledger holds, as a cache between gives it
    STALE = "stale"


# one writer at a time: two polls that meet must not both take theirs for the newest
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('segwatch.event', 0))")
_NEWEST = text(
    """
    SELECT revision, properties ->> 'digest' AS digest, CAST(properties ->> 'updated_at' AS timestamptz) AS updated_at
    FROM segwatch.event WHERE source = :source AND external_id = :external_id
    ORDER BY recorded_at DESC LIMIT 1
    """
)
_ADD = text(
    """
    INSERT INTO segwatch.event (id, source, external_id, revision, kind, title, occurred_at, geom, properties)
    VALUES (:id, :source, :external_id, :revision, :kind, :title, :occurred_at, CAST(:geom AS geometry),
            CAST(:properties AS jsonb))
    """
)
_CURRENT = text(
    """
    SELECT * FROM (
        SELECT DISTINCT ON (source, external_id) source, external_id, kind, title, occurred_at,
               ST_AsText(ST_Centroid(geom), 4) AS place, properties ->> 'level' AS level,
               CAST(properties ->> 'magnitude' AS double precision) AS magnitude,
               properties ->> 'magnitude_unit' AS magnitude_unit,
               CAST(properties ->> 'population' AS bigint) AS population,
               CAST(properties ->> 'ended_at' AS timestamptz) AS ended_at,
               CAST(properties ->> 'cancelled' AS boolean) AS cancelled, properties ->> 'link' AS link,
               count(*) OVER (PARTITION BY source, external_id) AS revisions, recorded_at
        FROM segwatch.event ORDER BY source, external_id, recorded_at DESC
    ) newest WHERE CAST(:kind AS text) IS NULL OR kind = :kind
    ORDER BY occurred_at DESC, source, external_id
    """
)


_NEWEST_OF_EACH = text(
    """
    SELECT DISTINCT ON (source, external_id) source, external_id, kind, title, occurred_at, geom, properties
    FROM segwatch.event ORDER BY source, external_id, recorded_at DESC
    """
)


def record(conn: Connection, event: Event) -> Recorded:
    """Keep what a feed says of an event, if it is news; saying it again adds nothing."""
    conn.execute(_LOCK)
    name = {"source": event.source, "external_id": event.external_id}
    newest = conn.execute(_NEWEST, name).one_or_none()
    geom = ewkb(event.geometry)
    said = _properties(event)
    digest = _digest(event.kind, event.title, event.occurred_at.astimezone(UTC).isoformat(), geom, said)
    if newest is not None:
        if newest.digest == digest:
            return Recorded.UNCHANGED
        if event.updated_at and newest.updated_at and event.updated_at < newest.updated_at:
            return Recorded.STALE
    # named after the one before: a feed that goes back to what it said once makes a third revision, not the first
    revision = _digest(digest, newest.revision if newest else "")
    row = {
        "id": make_id("event", event.source, event.external_id, revision),
        "revision": revision,
        "kind": event.kind.value,
        "title": event.title,
        "occurred_at": event.occurred_at,
        "geom": geom,
        "properties": json.dumps({**said, "digest": digest}),
    }
    conn.execute(_ADD, name | row)
    return Recorded.NEW if newest is None else Recorded.REVISED


def current(conn: Connection, kind: str | None = None) -> list[dict[str, Any]]:
    """Every event as it is known today, newest first."""
    return [dict(row) for row in conn.execute(_CURRENT, {"kind": kind}).mappings()]


def known(conn: Connection) -> list[Event]:
    """Every event as it is known today, by source and name."""
    return [_event(row) for row in conn.execute(_NEWEST_OF_EACH)]


def _event(row: Any) -> Event:
    said = {name: value for name, value in row.properties.items() if name != "digest"}
    for name in ("updated_at", "ended_at"):
        said[name] = datetime.fromisoformat(said[name]) if said.get(name) else None
    said["level"] = EventLevel(said["level"]) if said.get("level") else None
    return Event(
        source=row.source,
        external_id=row.external_id,
        kind=EventKind(row.kind),
        title=row.title,
        occurred_at=row.occurred_at,
        geometry=from_ewkb(row.geom),
        **said,
    )


def _properties(event: Event) -> dict[str, Any]:
    columns = {"source", "external_id", "kind", "title", "occurred_at", "geometry"}
    every = {name: getattr(event, name) for name in type(event).__slots__ if name not in columns}
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in every.items()
    }


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]
