"""Events of the world in the ledger: one row per revision; nothing that a feed once said is lost.

An event has as many names as its publishers give it: each message of a chain of alerts, each network that measured an
earthquake. Entries with a name in common are revisions of one event, also where that becomes known later: then its rows
come together under the name of the earliest message, or else the one that was recorded first. The newest by the
publisher's own time holds, whatever order entries arrive in; a time ahead of ours counts as that of its receipt (see
:mod:`segwatch.geo.clock`).
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

from sqlalchemy import Connection, Row, text

from segwatch.db import mutexes
from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.db.ids import make_id
from segwatch.geo.antimeridian import centroid
from segwatch.geo.clock import EVENT_TOLERANCE, believable, is_ahead
from segwatch.geo.types.event import Event, EventKind, EventLevel, EventName, Withdrawal


class Recorded(enum.StrEnum):
    """What an event was to the ledger."""

    NEW = "new"
    REVISED = "revised"
    UNCHANGED = "unchanged"
    #: older than the revision that the ledger holds, as a cache between gives it
    STALE = "stale"
    #: taken back before anything was said of it
    WITHDRAWN = "withdrawn"


#: Properties that no publisher said.
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
#: When the very same was said of an event for the first time.
_SAID_BEFORE = text(
    """
    SELECT min(coalesce(CAST(properties ->> 'believed_at' AS timestamptz), recorded_at)) FROM segwatch.event
    WHERE source = :source AND external_id = :external_id AND properties ->> 'digest' = ANY(:digests)
    """
)
_NOW = text("SELECT clock_timestamp()")
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
#: All names of the events that one of the given names belongs to, the one that stays first.
_RELATED = text(
    """
    SELECT n.source, n.external_id, n.event_source, n.event_external_id, n.since, n.withdrawn_at
    FROM segwatch.event_name n
    WHERE (n.event_source, n.event_external_id) IN (
        SELECT k.event_source, k.event_external_id
        FROM segwatch.event_name k
        JOIN unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS told (source, external_id)
          ON k.source = told.source AND k.external_id = told.external_id)
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
#: Revisions are named anew, as two events may have been told in the same words.
_JOIN = text(
    """
    UPDATE segwatch.event
    SET source = :source, external_id = :external_id,
        revision = left(md5(concat_ws(' ', source, external_id, revision)), 20)
    WHERE source = :old_source AND external_id = :old_external_id
    """
)


def record(conn: Connection, told: Event | Withdrawal) -> Recorded:
    """Keep what a feed says of an event, if it is news; saying it again adds nothing."""
    # one writer at a time: two polls that meet must not both take theirs for the newest
    mutexes.lock(conn, "event")
    if isinstance(told, Withdrawal):
        return _withdraw(conn, told)
    names = told.names or (EventName(told.source, told.external_id),)
    name, withdrawn_at = _identify(conn, names)
    newest = _settled(conn, name, withdrawn_at)
    told_at = _believable(conn, name, told)
    if _is_before(told_at, withdrawn_at):
        told = replace(told, cancelled=True)
    if newest is not None:
        newest_at = _believed(newest)
        if newest.digest == _digest_of(told):
            return Recorded.UNCHANGED
        if told_at and newest_at and told_at < newest_at:
            return Recorded.STALE
    _add(conn, name, told, newest, told_at)
    return Recorded.NEW if newest is None else Recorded.REVISED


def _believable(conn: Connection, name: dict[str, str], told: Event) -> datetime | None:
    """When an event was updated; where that lies ahead, when the ledger was told so first."""
    now: datetime = conn.execute(_NOW).scalar_one()
    if told.updated_at is None or not is_ahead(told.updated_at, now, EVENT_TOLERANCE):
        return told.updated_at
    digests = [_digest_of(one) for one in (told, replace(told, cancelled=True))]
    before: datetime | None = conn.execute(_SAID_BEFORE, name | {"digests": digests}).scalar_one()
    return before or now


def _believed(row: Row[Any]) -> datetime | None:
    """When a revision counts as updated."""
    if row.believed_at is not None or row.updated_at is None:
        known: datetime | None = row.believed_at
        return known
    return believable(row.updated_at, row.recorded_at, EVENT_TOLERANCE)


def _withdraw(conn: Connection, told: Withdrawal) -> Recorded:
    now: datetime = conn.execute(_NOW).scalar_one()
    if is_ahead(told.withdrawn_at, now, EVENT_TOLERANCE):
        told = replace(told, withdrawn_at=_withdrawn_first(conn, told.names) or now)
    name, withdrawn_at = _identify(conn, told.names, withdrawn_at=told.withdrawn_at)
    before = conn.execute(_NEWEST, name).one_or_none()
    after = _settled(conn, name, withdrawn_at)
    if before is None or after is None:
        return Recorded.WITHDRAWN
    if before.digest != after.digest:
        return Recorded.REVISED
    return Recorded.UNCHANGED if _is_before(_believed(before), told.withdrawn_at) else Recorded.STALE


def _withdrawn_first(conn: Connection, names: Sequence[EventName]) -> datetime | None:
    """When an event of these names was taken back, if it was: saying it again does not say it later."""
    told = {"sources": [one.source for one in names], "ids": [one.external_id for one in names]}
    times = [row.withdrawn_at for row in conn.execute(_RELATED, told) if row.withdrawn_at is not None]
    return max(times, default=None)


def _settled(conn: Connection, name: dict[str, str], withdrawn_at: datetime | None) -> Row[Any] | None:
    """What the ledger holds of an event, cancelled if it was taken back since it was said."""
    newest = conn.execute(_NEWEST, name).one_or_none()
    if newest is None or not _is_before(_believed(newest), withdrawn_at):
        return newest
    event = _event(newest)
    if event.cancelled:
        return newest
    # its time stays that of what was said, so that nothing older is taken for newer
    _add(conn, name, replace(event, cancelled=True), newest, _believed(newest))
    return conn.execute(_NEWEST, name).one()


def _is_before(said_at: datetime | None, withdrawn_at: datetime | None) -> bool:
    return said_at is not None and withdrawn_at is not None and said_at <= withdrawn_at


def _add(
    conn: Connection,
    name: dict[str, str],
    event: Event,
    newest: Row[Any] | None,
    believed_at: datetime | None,
) -> None:
    digest = _digest_of(event)
    # named after the one before: a feed that goes back to what it said once makes a third revision, not the first
    revision = _digest(digest, newest.revision if newest else "")
    # what is claimed stays; revisions are put in order by what can be believed of it
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
    """Under which name the ledger keeps the event of these names, and when it was taken back, if it was."""
    told = {"sources": [one.source for one in names], "ids": [one.external_id for one in names]}
    related = conn.execute(_RELATED, told).all()
    known = [EventName(row.source, row.external_id, row.since) for row in related]
    dated = [one for one in (*names, *known) if one.since is not None]
    # without times, the name that was recorded first stays
    event = min(dated, key=lambda one: (one.since, one.source, one.external_id), default=[*known, *names][0])
    kept = {"source": event.source, "external_id": event.external_id}
    events = dict.fromkeys((row.event_source, row.event_external_id) for row in related)
    _join(conn, list(events), event)
    held = {(row.source, row.external_id): row for row in related}
    of = {"event_source": event.source, "event_external_id": event.external_id}
    for one in (*known, *names):
        row = {"source": one.source, "external_id": one.external_id, "since": one.since}
        if not _holds(held.get((one.source, one.external_id)), row | of | {"withdrawn_at": withdrawn_at}):
            conn.execute(_NAME, row | of | {"withdrawn_at": withdrawn_at})
    taken_back = [withdrawn_at, *(row.withdrawn_at for row in related)]
    return kept, max(filter(None, taken_back), default=None)


def _holds(held: Row[Any] | None, wanted: dict[str, Any]) -> bool:
    """Whether the ledger has a name already as it is to be."""
    if held is None:
        return False
    same = (held.event_source, held.event_external_id) == (
        wanted["event_source"],
        wanted["event_external_id"],
    )
    since, withdrawn_at = wanted["since"], wanted["withdrawn_at"]
    dated = since is None or (held.since is not None and held.since <= since)
    return same and dated and (withdrawn_at is None or (held.withdrawn_at or _NEVER) >= withdrawn_at)


def _join(conn: Connection, events: Sequence[tuple[str, str]], event: EventName) -> None:
    """Bring the rows of several events together under one name; the newest of what they said holds."""
    if all(one == (event.source, event.external_id) for one in events):
        return
    newest = []
    for source, external_id in events:
        row = conn.execute(_NEWEST, {"source": source, "external_id": external_id}).one_or_none()
        if row is not None:
            newest.append(row)
        if (source, external_id) != (event.source, event.external_id):
            old = {"old_source": source, "old_external_id": external_id}
            conn.execute(_JOIN, {"source": event.source, "external_id": event.external_id} | old)
    if len(newest) < 2:
        return
    name = {"source": event.source, "external_id": event.external_id}
    holds = max(newest, key=lambda row: (_believed(row) or row.recorded_at, row.recorded_at))
    if holds.recorded_at != max(row.recorded_at for row in newest):
        # what holds is what was recorded last
        _add(conn, name, _event(holds), conn.execute(_NEWEST, name).one(), _believed(holds))


def current(conn: Connection, kind: str | None = None) -> list[dict[str, Any]]:
    """Every event as it is known today, newest first."""
    names = _names(conn)
    rows = []
    for found in conn.execute(_CURRENT, {"kind": kind}).mappings():
        row = dict(found)
        longitude, latitude = centroid(from_ewkb(row.pop("geom")))
        row["place"] = f"POINT({round(longitude, 4):g} {round(latitude, 4):g})"
        told = names[row["source"], row["external_id"]]
        row["names"] = [f"{one.source}/{one.external_id}" for one in told]
        rows.append(row)
    return rows


def known(conn: Connection) -> list[Event]:
    """Every event as it is known today with all of its names, by source and name.

    One that was taken back was updated when that was said; a time that lies ahead is that of its receipt.
    """
    names = _names(conn)
    withdrawn = {(row.event_source, row.event_external_id): row.at for row in conn.execute(_WITHDRAWN)}
    found = []
    for row in conn.execute(_NEWEST_OF_EACH):
        event, key = _event(row), (row.source, row.external_id)
        times = filter(None, (_believed(row), withdrawn.get(key) if event.cancelled else None))
        found.append(replace(event, names=names[key], updated_at=max(times, default=None)))
    return found


def _names(conn: Connection) -> dict[tuple[str, str], tuple[EventName, ...]]:
    """Names by event."""
    found: dict[tuple[str, str], tuple[EventName, ...]] = defaultdict(tuple)
    for row in conn.execute(_NAMES):
        found[row.event_source, row.event_external_id] += (EventName(row.source, row.external_id, row.since),)
    return found


def _event(row: Any) -> Event:
    said = {name: value for name, value in row.properties.items() if name not in _OURS}
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
