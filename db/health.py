"""Health of the ledger: leases, outbox, circuits, and the last search of each watch. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from segwatch.db import outbox
from segwatch.db.circuits import OpenCircuit as OpenSource
from segwatch.db.circuits import list_open
from segwatch.geo.types.revisits import MAX_MISSED

_NOW = text("SELECT clock_timestamp()")
_WATCHES = text(
    """
    SELECT h.name, w.definition ->> 'schedule' AS schedule, CAST(w.definition ->> 'end' AS timestamptz) AS ends_at,
           h.applied_at, d.attempted_at, d.answered_at, coalesce(d.failures, 0) AS failures, d.error,
           CASE WHEN r.rejected > 0 AND NOT EXISTS (
                    SELECT 1 FROM segwatch.observation o JOIN segwatch.watch v ON v.id = o.revision_id
                    WHERE v.name = h.name AND v.definition -> 'profile' = w.definition -> 'profile')
                THEN r.rejected ELSE 0 END AS only_rejected, r.reason AS rejected_because,
           v.state, (SELECT max(t.acted_at) FROM segwatch.watch_action t WHERE t.watch_name = h.name) AS acted_at,
           coalesce(s.missed, 0) AS missed_revisits, s.last_at AS last_shown_at,
           coalesce(s.orbits, '{}') AS silent_orbits,
           coalesce(w.definition ->> 'fallback', '') <> '' AS has_fallback
    FROM segwatch.watch_head h
    JOIN segwatch.watch w ON w.id = h.revision_id
    JOIN watch.watches v ON v.watch = h.name
    LEFT JOIN segwatch.discovery d ON d.watch_name = h.name
    CROSS JOIN LATERAL (
        SELECT min(t.missed_in_a_row) AS missed, max(t.last_at) AS last_at,
               array_agg(t.platform || ' orbit ' || t.relative_orbit || ' (' || t.missed_in_a_row || ')'
                         ORDER BY t.platform, t.relative_orbit)
                   FILTER (WHERE t.missed_in_a_row >= :most) AS orbits
        FROM segwatch.revisit t WHERE t.watch_name = h.name) s
    CROSS JOIN LATERAL (
        SELECT count(*) AS rejected, max(r.reason) AS reason
        FROM segwatch.rejection r WHERE r.watch_name = h.name AND r.superseded_at IS NULL) r
    ORDER BY h.name
    """
)
_LEASES = text(
    """
    SELECT count(*) AS expired, min(lease_until) AS since FROM segwatch.observation
    WHERE state = 'leased' AND lease_until < clock_timestamp()
    """
)
#: Due messages that no open circuit of their channel, no snooze and no earlier message holds back.
_OUTBOX = text(
    """
    SELECT count(*) AS due, min(coalesce(d.digest_at, d.next_attempt_at)) AS since FROM segwatch.delivery d
    WHERE d.state = 'pending' AND d.digest_id IS NULL
      AND coalesce(d.digest_at, d.next_attempt_at) <= clock_timestamp()
      AND NOT EXISTS (SELECT 1 FROM segwatch.channel c
                      WHERE c.name = d.channel AND c.resting_until > clock_timestamp())
      AND NOT EXISTS (SELECT 1 FROM segwatch.alert_status s
                      WHERE s.track_id = d.track_id AND s.mark = 'snoozed' AND s.until > clock_timestamp())
      AND NOT EXISTS (SELECT 1 FROM segwatch.delivery e
                      WHERE e.channel = d.channel AND e.track_id = d.track_id AND e.state = 'pending'
                        AND e.sequence < d.sequence
                        AND coalesce(e.digest_at, e.next_attempt_at) > clock_timestamp())
    """
)
#: Observations of the series in force that were moved far, or whose shift is not known.
_SHIFTS = text(
    """
    SELECT c.watch, count(*) AS observed, count(*) FILTER (WHERE c.shift_problem = 'large') AS large,
           count(*) FILTER (WHERE c.shift_problem = 'uncertain') AS uncertain,
           max(sqrt(c.shift_east_m ^ 2 + c.shift_north_m ^ 2)) AS largest_m,
           max(c.acquired_at) FILTER (WHERE c.shift_problem IS NOT NULL) AS newest_at
    FROM watch.coverage c JOIN segwatch.observation o ON o.id = c.observation_id
    WHERE c.state = 'observed' AND c.superseded_at IS NULL
      AND o.series_id IN (SELECT series_id FROM segwatch.current_series)
    GROUP BY c.watch HAVING count(c.shift_problem) > 0 ORDER BY c.watch
    """
)
_DEAD = text("SELECT count(*) FROM segwatch.delivery WHERE state = 'dead'")
_WITHDRAWN = text(
    "SELECT count(*) FROM segwatch.delivery"
    " WHERE state = 'withdrawn' AND last_error IS NOT NULL AND alert_id IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class WatchHealth:
    """A watch and the outcome of the last search of its catalog; times UTC."""

    name: str
    schedule: str | None
    ends_at: datetime | None
    applied_at: datetime
    attempted_at: datetime | None
    """None = its catalog was never searched."""
    answered_at: datetime | None
    failures: int
    """Failed searches in a row, the last one included."""
    error: str | None
    only_rejected: int = 0
    """Rejected items of a watch that found no other items; 0 if it found any."""
    rejected_because: str | None = None
    """Reason of one of the current rejections."""
    state: str = "active"
    """active, paused, archived or ended."""
    acted_at: datetime | None = None
    """When somebody last paused, resumed or archived it, UTC."""
    missed_revisits: int = 0
    """Revisits that every orbit which passes regularly has missed in a row since its last scene."""
    last_shown_at: datetime | None = None
    """Acquisition of the newest scene of these orbits; None = no orbit passes regularly."""
    silent_orbits: Sequence[str] = ()
    """Orbits that missed :data:`segwatch.geo.types.revisits.MAX_MISSED` revisits or more in a row, with how many."""
    has_fallback: bool = False
    """Whether it names a catalog that takes over."""


@dataclass(frozen=True, slots=True)
class FailingChannel:
    """A channel that a rule in force names, or that messages wait for, and whose last attempt failed; times UTC."""

    channel: str
    failures: int
    """Failures in a row."""
    failed_at: datetime
    """Last failure."""
    error: str | None
    delivered_at: datetime | None
    """Last delivery; None = nothing was ever delivered."""
    open_until: datetime | None = None
    """Set while its circuit is open: it gets no message until then."""
    gone_at: datetime | None = None
    """When its receiver refused all messages (410 Gone)."""


@dataclass(frozen=True, slots=True)
class ShiftedScenes:
    """Observations of a watch's series in force that lie far from their series, or whose shift is not known."""

    watch: str
    observed: int
    """All observations of the series."""
    large: int
    """Moved by more than two pixels."""
    uncertain: int
    """Neither pixels nor outlines tell their shift."""
    largest_m: float
    newest_at: datetime
    """Acquisition time of the newest of them, UTC."""


@dataclass(frozen=True, slots=True)
class LedgerHealth:
    """The ledger at one moment."""

    now: datetime
    watches: tuple[WatchHealth, ...]
    expired_leases: int
    expired_since: datetime | None
    messages_due: int
    due_since: datetime | None
    messages_dead: int
    """Given up unless somebody replays them."""
    channels: tuple[FailingChannel, ...]
    sources: tuple[OpenSource, ...] = ()
    """Imagery sources whose circuit is open."""
    messages_withdrawn: int = 0
    """Not sent because their rule no longer names the channel."""
    shifts: tuple[ShiftedScenes, ...] = ()
    """By watch."""


def read(conn: Connection) -> LedgerHealth:
    """Read the health of the ledger now."""
    now = conn.execute(_NOW).scalar_one()
    leases, due = conn.execute(_LEASES).one(), conn.execute(_OUTBOX).one()
    return LedgerHealth(
        now=now,
        watches=read_watches(conn),
        expired_leases=leases.expired,
        expired_since=leases.since,
        messages_due=due.due,
        due_since=due.since,
        messages_dead=conn.execute(_DEAD).scalar_one(),
        channels=tuple(_list_failing_channels(conn, now)),
        messages_withdrawn=conn.execute(_WITHDRAWN).scalar_one(),
        sources=tuple(list_open(conn)),
        shifts=tuple(ShiftedScenes(*row) for row in conn.execute(_SHIFTS)),
    )


def read_watches(conn: Connection) -> tuple[WatchHealth, ...]:
    """Read the health of every watch, by name."""
    return tuple(WatchHealth(*row) for row in conn.execute(_WATCHES, {"most": MAX_MISSED}))


def _list_failing_channels(conn: Connection, now: datetime) -> Iterator[FailingChannel]:
    for row in outbox.list_failing_channels(conn):
        if row["rules"] or row["pending"]:
            until = row["resting_until"]
            yield FailingChannel(
                channel=row["name"],
                failures=row["failures"],
                failed_at=row["changed_at"],
                error=row["last_error"],
                delivered_at=row["delivered_at"],
                open_until=until if until is not None and until > now else None,
                gone_at=row["gone_at"],
            )
