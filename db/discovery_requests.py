"""Requests to search the catalogs of watches, left by catalogs that announced new items.

A request is a row of its watch, however many announcements there were, so that a flood of them costs one search at a
time. The next search of the watch that succeeds fulfils it, whoever starts it; if none does, the watch's schedule finds
the items all the same.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.codec import to_ewkb
from segwatch.db.ids import make_id
from segwatch.geo.text.printable import sanitize
from segwatch.geo.types.announcement import Announcement

#: Times that a request is taken before it is left to the watch's schedule.
MAX_ATTEMPTS = 5
#: Time between two searches of a watch that announcements cause.
MIN_INTERVAL_SECONDS = 60
_KEPT_DAYS = 7
_MAX_ITEM_ID = 200
_REMEMBER = text("INSERT INTO segwatch.announcement (id) VALUES (:id) ON CONFLICT DO NOTHING RETURNING id")
_FORGET = text(
    "DELETE FROM segwatch.announcement WHERE received_at < clock_timestamp() - make_interval(days => :days)"
)
#: Watches of a collection whose AOI an item may touch; those that have ended look for nothing new.
_CANDIDATES = text(
    """
    SELECT h.name, w.catalog FROM segwatch.watch_head h
    JOIN segwatch.watch w ON w.id = h.revision_id JOIN segwatch.area a ON a.id = w.area_id
    WHERE w.definition -> 'profile' ->> 'collection' IN (:collection, '*')
      AND (w.definition ->> 'end' IS NULL OR CAST(w.definition ->> 'end' AS timestamptz) > clock_timestamp())
      AND (CAST(:footprint AS geometry) IS NULL OR a.geom && CAST(:footprint AS geometry))
    ORDER BY h.name
    """
)
_REQUEST = text(
    """
    INSERT INTO segwatch.discovery_request AS r (watch_name, item_id) VALUES (:watch, :item_id)
    ON CONFLICT (watch_name) DO UPDATE SET requested_at = clock_timestamp(), item_id = excluded.item_id,
        announcements = least(r.announcements, 1000000) + 1
    """
)
_TAKE = text(
    """
    UPDATE segwatch.discovery_request r
    SET taken_until = clock_timestamp() + make_interval(mins => 10 * (r.attempts + 1)), attempts = r.attempts + 1
    FROM (
        SELECT q.watch_name FROM segwatch.discovery_request q
        LEFT JOIN segwatch.discovery d ON d.watch_name = q.watch_name
        WHERE (q.taken_until IS NULL OR q.taken_until <= clock_timestamp())
          AND q.watch_name <> ALL(CAST(:busy AS text[]))
          AND (d.attempted_at IS NULL OR d.attempted_at <= clock_timestamp() - make_interval(secs => :interval))
        ORDER BY q.requested_at LIMIT :limit FOR UPDATE OF q SKIP LOCKED) due
    WHERE r.watch_name = due.watch_name RETURNING r.watch_name
    """
)
_GIVE_UP = text(
    """
    DELETE FROM segwatch.discovery_request WHERE attempts >= :attempts AND taken_until <= clock_timestamp()
    RETURNING watch_name
    """
)
#: An announcement that came in during the search stays for the next one.
_FULFIL = text(
    """
    WITH done AS (
        DELETE FROM segwatch.discovery_request WHERE watch_name = :watch
        AND requested_at <= CAST(:began_at AS timestamptz) RETURNING watch_name)
    UPDATE segwatch.discovery_request SET taken_until = NULL, attempts = 0
    WHERE watch_name = :watch AND watch_name NOT IN (SELECT watch_name FROM done)
    """
)


def record(
    conn: Connection, announcement: Announcement, readable: Collection[str] | None = None
) -> list[str] | None:
    """Request a search of the watches that may want the announced item.

    Parameters
    ----------
    readable
        Watches that the sender may see; None = all.

    Returns
    -------
    list[str] | None
        Names of the watches; None if this announcement was received before.
    """
    identity: UUID = make_id("announcement", announcement.source, announcement.id)
    conn.execute(_FORGET, {"days": _KEPT_DAYS})
    if conn.execute(_REMEMBER, {"id": identity}).first() is None:
        return None
    found = []
    for item in announcement.items:
        footprint = None if item.footprint is None else to_ewkb(item.footprint)
        rows = conn.execute(_CANDIDATES, {"collection": item.collection, "footprint": footprint})
        wanted = [row.name for row in rows if _may_be_of(row.catalog, item.hosts)]
        item_id = sanitize(item.id)[:_MAX_ITEM_ID]
        for name in wanted:
            if readable is None or name in readable:
                conn.execute(_REQUEST, {"watch": name, "item_id": item_id})
                found.append(name)
    return sorted(set(found))


def _may_be_of(catalog: str, hosts: Collection[str]) -> bool:
    """Whether an item whose links name these hosts may be of a catalog; one without links may be of any."""
    return not hosts or (urlsplit(catalog).hostname or "").lower() in hosts


def take(
    conn: Connection, *, busy: Collection[str] = (), limit: int = 10, interval: float = MIN_INTERVAL_SECONDS
) -> list[str]:
    """Take the requests that are due; returns the watches to search, those that waited longest first.

    A request that is taken is not given again for ten minutes, longer after each attempt.

    Parameters
    ----------
    busy
        Watches that are being searched already.
    interval
        Least time since the last search of the watch, seconds.
    """
    values = {"busy": list(busy), "limit": limit, "interval": interval}
    return list(conn.execute(_TAKE, values).scalars())


def give_up(conn: Connection) -> list[str]:
    """Drop the requests that were taken too often without success; returns their watches."""
    return list(conn.execute(_GIVE_UP, {"attempts": MAX_ATTEMPTS}).scalars())


def fulfil(conn: Connection, watch: str, began_at: datetime) -> None:
    """End the request of a watch, unless an announcement came in after the search began."""
    conn.execute(_FULFIL, {"watch": watch, "began_at": began_at})
