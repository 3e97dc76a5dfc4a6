"""Events in the ledger: one row per revision, so that nothing a feed published is lost.

Publishers give an event several names: each message of a chain of alerts has one, and each network that measured an
earthquake. Entries that share a name are revisions of one event; if that turns out later, its rows are merged under the
name of the earliest message, else under the name recorded first. The revision that is newest by the publisher's own
time is current, whatever the order of arrival; a time in the future counts as that of its receipt
(:mod:`segwatch.geo.clock`).
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from segwatch.db import mutexes
from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.db.ids import make_id
from segwatch.geo.antimeridian import compute_centroid
from segwatch.geo.clock import EVENT_TOLERANCE, clamp_to_receipt, is_too_far_ahead
from segwatch.geo.types.event import Event, EventKind, EventLevel, EventName, Withdrawal


class Recorded(enum.StrEnum):
    """How :func:`record` changed the ledger."""

    NEW = "new"
    REVISED = "revised"
    UNCHANGED = "unchanged"
    #: older than the current revision, such as from a cache
    STALE = "stale"
    #: withdrawn before it was ever reported
    WITHDRAWN = "withdrawn"


#: Properties added by segwatch, not by a publisher.
_OURS = frozenset({"digest", "believed_at"})
_NEVER = datetime.min.replace(tzinfo=UTC)
_COLUMNS = "source, external_id, revision, kind, title, occurred_at, geom, properties, recorded_at"
_NEWEST = text(
    f"""
    SELECT {_COLUMNS}, properties ->> 'digest' AS digest,
           CAST(properties ->> 'updated_at' AS timestamptz) AS updated_at,
           CAST(properties ->> 'believed_at' AS timestamptz) AS believed_at
    FROM segwatch.event WHERE source = :source AND external_id = :external_id ORDER BY recorded_at DESC LIMIT 1
    """  # noqa: S608 - our own columns
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
               geom, properties ->> 'level' AS level,
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
    SELECT DISTINCT ON (source, external_id) source, external_id, kind, title, occurred_at, geom, properties,
           recorded_at, CAST(properties ->> 'updated_at' AS timestamptz) AS updated_at,
           CAST(properties ->> 'believed_at' AS timestamptz) AS believed_at
    FROM segwatch.event ORDER BY source, external_id, recorded_at DESC
    """
)
#: When the same content was recorded for the first time.
_FIRST_RECORDED = text(
    """
    SELECT min(coalesce(CAST(properties ->> 'believed_at' AS timestamptz), recorded_at)) FROM segwatch.event
    WHERE source = :source AND external_id = :external_id AND properties ->> 'digest' = ANY(:digests)
    """
)
_NOW = text("SELECT clock_timestamp()")
_NAME_OF = text("SELECT source, external_id FROM segwatch.event WHERE id = :id")
_NAMES = text(
    """
    SELECT event_source, event_external_id, source, external_id, since
    FROM segwatch.event_name ORDER BY since NULLS LAST, recorded_at, source, external_id
    """
)
_WITHDRAWN = text(
    """
    SELECT event_source, event_external_id, max(withdrawn_at) AS at FROM segwatch.event_name
    WHERE withdrawn_at IS NOT NULL GROUP BY 1, 2
    """
)
#: All names of the events that have one of the given names, the name to keep first.
_RELATED = text(
    """
    SELECT n.source, n.external_id, n.event_source, n.event_external_id, n.since, n.withdrawn_at
    FROM segwatch.event_name n
    WHERE (n.event_source, n.event_external_id) IN (
        SELECT k.event_source, k.event_external_id
        FROM segwatch.event_name k
        JOIN unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS given (source, external_id)
          ON k.source = given.source AND k.external_id = given.external_id)
    ORDER BY n.since NULLS LAST, n.recorded_at, n.source, n.external_id
    """
)
_NAME = text(
    """
    INSERT INTO segwatch.event_name AS n (source, external_id, event_source, event_external_id, since, withdrawn_at)
    VALUES (:source, :external_id, :event_source, :event_external_id, :since, :withdrawn_at)
    ON CONFLICT (source, external_id) DO UPDATE
    SET event_source = excluded.event_source, event_external_id = excluded.event_external_id,
        since = least(n.since, excluded.since), withdrawn_at = greatest(n.withdrawn_at, excluded.withdrawn_at)
    """
)
#: Revisions get new names, as both events may have revisions of the same content.
_MERGE = text(
    """
    UPDATE segwatch.event
    SET source = :source, external_id = :external_id,
        revision = left(md5(concat_ws(' ', source, external_id, revision)), 20)
    WHERE source = :old_source AND external_id = :old_external_id
    """
)


def record(conn: Connection, entry: Event | Withdrawal) -> Recorded:
    """Record an entry of a feed; an unchanged or outdated entry adds nothing."""
    # one writer at a time: two concurrent polls must not both take theirs for the newest
    mutexes.lock(conn, "event")
    if isinstance(entry, Withdrawal):
        return _withdraw(conn, entry)
    names = entry.names or (EventName(entry.source, entry.external_id),)
    name, withdrawn_at = _identify(conn, names)
    newest = _settled(conn, name, withdrawn_at)
    updated_at = _clamp_update(conn, name, entry)
    if _is_before(updated_at, withdrawn_at):
        entry = replace(entry, cancelled=True)
    if newest is not None:
        newest_at = _update_time(newest)
        if newest.digest == _digest_of(entry):
            return Recorded.UNCHANGED
        if updated_at and newest_at and updated_at < newest_at:
            return Recorded.STALE
    _add(conn, name, entry, newest, updated_at)
    return Recorded.NEW if newest is None else Recorded.REVISED


def _clamp_update(conn: Connection, name: dict[str, str], event: Event) -> datetime | None:
    """Return when an event was updated; if that is in the future, when this content was first recorded."""
    now: datetime = conn.execute(_NOW).scalar_one()
    if event.updated_at is None or not is_too_far_ahead(event.updated_at, now, EVENT_TOLERANCE):
        return event.updated_at
    digests = [_digest_of(one) for one in (event, replace(event, cancelled=True))]
    before: datetime | None = conn.execute(_FIRST_RECORDED, name | {"digests": digests}).scalar_one()
    return before or now


def _update_time(row: Row[Any]) -> datetime | None:
    """Return the update time by which revisions are ordered."""
    if row.believed_at is not None or row.updated_at is None:
        known: datetime | None = row.believed_at
        return known
    return clamp_to_receipt(row.updated_at, row.recorded_at, EVENT_TOLERANCE)


def _withdraw(conn: Connection, withdrawal: Withdrawal) -> Recorded:
    now: datetime = conn.execute(_NOW).scalar_one()
    if is_too_far_ahead(withdrawal.withdrawn_at, now, EVENT_TOLERANCE):
        known = _withdrawn_before(conn, withdrawal.names)
        withdrawal = replace(withdrawal, withdrawn_at=known or now)
    name, withdrawn_at = _identify(conn, withdrawal.names, withdrawn_at=withdrawal.withdrawn_at)
    before = conn.execute(_NEWEST, name).one_or_none()
    after = _settled(conn, name, withdrawn_at)
    if before is None or after is None:
        return Recorded.WITHDRAWN
    if before.digest != after.digest:
        return Recorded.REVISED
    return Recorded.UNCHANGED if _is_before(_update_time(before), withdrawal.withdrawn_at) else Recorded.STALE


def _withdrawn_before(conn: Connection, names: Sequence[EventName]) -> datetime | None:
    """Return the recorded withdrawal time of an event, if any: a repeated withdrawal does not move it."""
    given = {"sources": [one.source for one in names], "ids": [one.external_id for one in names]}
    times = [row.withdrawn_at for row in conn.execute(_RELATED, given) if row.withdrawn_at is not None]
    return max(times, default=None)


def _settled(conn: Connection, name: dict[str, str], withdrawn_at: datetime | None) -> Row[Any] | None:
    """Load the current revision of an event, after cancelling it if it was withdrawn since."""
    newest = conn.execute(_NEWEST, name).one_or_none()
    if newest is None or not _is_before(_update_time(newest), withdrawn_at):
        return newest
    event = _event(newest)
    if event.cancelled:
        return newest
    # keep its update time, so that no older entry passes for a newer one
    _add(conn, name, replace(event, cancelled=True), newest, _update_time(newest))
    return conn.execute(_NEWEST, name).one()


def _is_before(updated_at: datetime | None, withdrawn_at: datetime | None) -> bool:
    return updated_at is not None and withdrawn_at is not None and updated_at <= withdrawn_at


def _add(
    conn: Connection,
    name: dict[str, str],
    event: Event,
    newest: Row[Any] | None,
    believed_at: datetime | None,
) -> None:
    digest = _digest_of(event)
    # named after the previous one: a feed that returns to earlier content makes a third revision, not the first again
    revision = _digest(digest, newest.revision if newest else "")
    # the claimed time stays in the event; believed_at orders revisions
    claimed = event.updated_at
    believed = {"believed_at": believed_at.isoformat()} if believed_at and believed_at != claimed else {}
    row = {
        "id": make_id("event", name["source"], name["external_id"], revision),
        "revision": revision,
        "kind": event.kind.value,
        "title": event.title,
        "occurred_at": event.occurred_at,
        "geom": to_ewkb(event.geometry),
        "properties": json.dumps({**_properties(event), "digest": digest, **believed}),
    }
    conn.execute(_ADD, name | row)


def _identify(
    conn: Connection, names: Sequence[EventName], *, withdrawn_at: datetime | None = None
) -> tuple[dict[str, str], datetime | None]:
    """Merge the events that have one of these names; returns the name to keep, and the withdrawal time if any."""
    given = {"sources": [one.source for one in names], "ids": [one.external_id for one in names]}
    related = conn.execute(_RELATED, given).all()
    known = [EventName(row.source, row.external_id, row.since) for row in related]
    dated = [one for one in (*names, *known) if one.since is not None]
    # without times, keep the name recorded first
    event = min(dated, key=lambda one: (one.since, one.source, one.external_id), default=[*known, *names][0])
    kept = {"source": event.source, "external_id": event.external_id}
    events = dict.fromkeys((row.event_source, row.event_external_id) for row in related)
    _merge(conn, list(events), event)
    held = {(row.source, row.external_id): row for row in related}
    of = {"event_source": event.source, "event_external_id": event.external_id}
    for one in (*known, *names):
        row = {"source": one.source, "external_id": one.external_id, "since": one.since}
        if not _is_recorded(
            held.get((one.source, one.external_id)), row | of | {"withdrawn_at": withdrawn_at}
        ):
            conn.execute(_NAME, row | of | {"withdrawn_at": withdrawn_at})
    withdrawals = [withdrawn_at, *(row.withdrawn_at for row in related)]
    return kept, max(filter(None, withdrawals), default=None)


def _is_recorded(held: Row[Any] | None, wanted: dict[str, Any]) -> bool:
    """Tell whether a name is recorded already as wanted."""
    if held is None:
        return False
    same = (held.event_source, held.event_external_id) == (
        wanted["event_source"],
        wanted["event_external_id"],
    )
    since, withdrawn_at = wanted["since"], wanted["withdrawn_at"]
    dated = since is None or (held.since is not None and held.since <= since)
    return same and dated and (withdrawn_at is None or (held.withdrawn_at or _NEVER) >= withdrawn_at)


def _merge(conn: Connection, events: Sequence[tuple[str, str]], event: EventName) -> None:
    """Merge the rows of several events under one name; the newest revision is current."""
    if all(one == (event.source, event.external_id) for one in events):
        return
    newest = []
    for source, external_id in events:
        row = conn.execute(_NEWEST, {"source": source, "external_id": external_id}).one_or_none()
        if row is not None:
            newest.append(row)
        if (source, external_id) != (event.source, event.external_id):
            old = {"old_source": source, "old_external_id": external_id}
            conn.execute(_MERGE, {"source": event.source, "external_id": event.external_id} | old)
    if len(newest) < 2:
        return
    name = {"source": event.source, "external_id": event.external_id}
    current = max(newest, key=lambda row: (_update_time(row) or row.recorded_at, row.recorded_at))
    if current.recorded_at != max(row.recorded_at for row in newest):
        # the current revision is the one recorded last, so record it again
        _add(conn, name, _event(current), conn.execute(_NEWEST, name).one(), _update_time(current))


def list_events(conn: Connection, kind: str | None = None) -> list[dict[str, Any]]:
    """List every event as it is known now, newest first: rows for people, with ``place`` as WKT and all names."""
    names = _names(conn)
    rows = []
    for found in conn.execute(_CURRENT, {"kind": kind}).mappings():
        row = dict(found)
        longitude, latitude = compute_centroid(from_ewkb(row.pop("geom")))
        row["place"] = f"POINT({round(longitude, 4):g} {round(latitude, 4):g})"
        known_as = names[row["source"], row["external_id"]]
        row["names"] = [f"{one.source}/{one.external_id}" for one in known_as]
        rows.append(row)
    return rows


def read_name(conn: Connection, event_id: UUID) -> str:
    """Read the name of the event that a stored revision is of: SOURCE/ID."""
    row = conn.execute(_NAME_OF, {"id": event_id}).one()
    return f"{row.source}/{row.external_id}"


def load_events(conn: Connection) -> list[Event]:
    """Load every event as it is known now with all of its names, by source and name.

    ``updated_at`` of a withdrawn event is the withdrawal time; a time in the future is replaced by that of its receipt.
    """
    names = _names(conn)
    withdrawn = {(row.event_source, row.event_external_id): row.at for row in conn.execute(_WITHDRAWN)}
    found = []
    for row in conn.execute(_NEWEST_OF_EACH):
        event, key = _event(row), (row.source, row.external_id)
        times = filter(None, (_update_time(row), withdrawn.get(key) if event.cancelled else None))
        found.append(replace(event, names=names[key], updated_at=max(times, default=None)))
    return found


def _names(conn: Connection) -> dict[tuple[str, str], tuple[EventName, ...]]:
    """Load the names of each event."""
    found: dict[tuple[str, str], tuple[EventName, ...]] = defaultdict(tuple)
    for row in conn.execute(_NAMES):
        found[row.event_source, row.event_external_id] += (EventName(row.source, row.external_id, row.since),)
    return found


def _event(row: Any) -> Event:
    values = {name: value for name, value in row.properties.items() if name not in _OURS}
    for name in ("updated_at", "ended_at"):
        values[name] = datetime.fromisoformat(values[name]) if values.get(name) else None
    values["level"] = EventLevel(values["level"]) if values.get("level") else None
    return Event(
        source=row.source,
        external_id=row.external_id,
        kind=EventKind(row.kind),
        title=row.title,
        occurred_at=row.occurred_at,
        geometry=from_ewkb(row.geom),
        **values,
    )


def _properties(event: Event) -> dict[str, Any]:
    columns = {"source", "external_id", "kind", "title", "occurred_at", "geometry", "names"}
    every = {name: getattr(event, name) for name in type(event).__slots__ if name not in columns}
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in every.items()
    }


def _digest_of(event: Event) -> str:
    occurred_at = event.occurred_at.astimezone(UTC).isoformat()
    # as bytes: stored digests were made of them
    outline = bytes.fromhex(to_ewkb(event.geometry))
    return _digest(event.kind, event.title, occurred_at, outline, _properties(event))


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]
