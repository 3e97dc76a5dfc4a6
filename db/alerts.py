"""Marks on alerts: acknowledge, snooze, resolve, reopen. Every mark is kept; the last one is in force."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Row, text

from segwatch.db.codec import from_ewkb
from segwatch.db.errors import MarkRefused, NotFound
from segwatch.db.ids import make_id
from segwatch.geo.text.storable import to_storable
from segwatch.geo.types.belief import Belief, BeliefStatus
from segwatch.geo.types.evidence import ChangeEvidence
from segwatch.geo.types.tracking import Change, ChangeKind

MAX_TEXT_LENGTH = 2000
MAX_SNOOZE = timedelta(days=3660)


class Mark(enum.StrEnum):
    """What somebody did about an alert."""

    ACKNOWLEDGED = "acknowledged"
    """Somebody is dealing with it."""
    SNOOZED = "snoozed"
    """Messages about the object wait until a given time."""
    RESOLVED = "resolved"
    """Nothing is left to do."""
    REOPENED = "reopened"


_LOCK = text(
    """
    SELECT c.track_id FROM segwatch.alert a JOIN segwatch.change c ON c.id = a.change_id
    WHERE a.id = :id FOR UPDATE OF a
    """
)
_LAST = text("SELECT ordinal, mark, person, note, until FROM segwatch.alert_status WHERE alert_id = :id")
_ADD = text(
    """
    INSERT INTO segwatch.alert_mark (id, alert_id, track_id, ordinal, mark, person, note, until)
    VALUES (:id, :alert_id, :track_id, :ordinal, :mark, :person, :note, :until)
    """
)
_CANCEL_ESCALATION = text(
    "UPDATE segwatch.alert SET escalate_at = NULL WHERE id = :id AND escalate_at IS NOT NULL"
)


def mark(
    conn: Connection,
    alert_id: UUID,
    given: Mark,
    *,
    person: str,
    note: str = "",
    until: datetime | None = None,
) -> bool:
    """Mark an alert, which also cancels its escalation. Repeating the last mark changes nothing.

    Parameters
    ----------
    person
        Who marks it.
    until
        End of a snooze, UTC; for ``SNOOZED`` only.

    Returns
    -------
    bool
        False if the same mark was in force already.

    Raises
    ------
    NotFound
        No alert has this id.
    MarkRefused
        ``person`` is empty, a text is too long, or ``until`` is missing, not allowed, past or over ten years ahead.
    """
    person = person.strip()
    if not person or len(person) > MAX_TEXT_LENGTH or len(note) > MAX_TEXT_LENGTH:
        raise MarkRefused(
            f"who and note: who must be named, and neither may be longer than {MAX_TEXT_LENGTH} characters"
        )
    if to_storable(person + note) != person + note:
        raise MarkRefused("who and note: NUL and halves of surrogate pairs cannot be stored; leave them out")
    if (given is Mark.SNOOZED) != (until is not None):
        raise MarkRefused("until: give it when snoozing, and only then")
    if until is not None:
        ahead = until - conn.execute(text("SELECT clock_timestamp()")).scalar_one()
        if not timedelta(0) < ahead <= MAX_SNOOZE:
            raise MarkRefused(
                f"until: {until.isoformat()} is past, or more than {MAX_SNOOZE.days} days ahead; give one between"
            )
    track_id = conn.execute(_LOCK, {"id": alert_id}).scalar_one_or_none()
    if track_id is None:
        raise alert_not_found(alert_id)
    last = conn.execute(_LAST, {"id": alert_id}).one_or_none()
    if last is not None and (last.mark, last.person, last.note, last.until) == (
        given.value,
        person,
        note,
        until,
    ):
        return False
    ordinal = 0 if last is None else last.ordinal + 1
    row = {
        "id": make_id("alert_mark", alert_id, ordinal),
        "alert_id": alert_id,
        "track_id": track_id,
        "ordinal": ordinal,
        "mark": given.value,
        "person": person,
        "note": note,
        "until": until,
    }
    conn.execute(_ADD, row)
    conn.execute(_CANCEL_ESCALATION, {"id": alert_id})
    return True


#: ``waited`` counts the observations of the place from the change on, before the one that raised it.
_CHANGES = text(
    """
    SELECT c.track_id, c.kind, c.target, c.valid_at, c.before_m2, c.after_m2, c.gained, c.lost, c.geom, c.score,
           c.baseline, e.evidence, j.times, j.confidences, j.statuses, j.agree, j.disagree,
           CASE WHEN c.valid_at < p.acquired_at THEN (
               SELECT count(*) FROM segwatch.observation o
               WHERE o.series_id = p.series_id AND o.state = 'observed' AND o.superseded_at IS NULL
                 AND o.acquired_at >= c.valid_at AND (o.acquired_at, o.scene_id) < (p.acquired_at, p.scene_id)
                 AND ST_Intersects(o.footprint, c.geom)) ELSE 0 END AS waited
    FROM segwatch.held_change c JOIN segwatch.provenance p ON p.observation_id = c.observation_id
    LEFT JOIN segwatch.change_evidence e ON e.change_id = c.id
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(n.acquired_at ORDER BY n.acquired_at, n.scene_id), '{}') AS times,
               array_agg(n.confidence ORDER BY n.acquired_at, n.scene_id) AS confidences,
               array_agg(n.status ORDER BY n.acquired_at, n.scene_id) AS statuses,
               array_agg(n.observations_for ORDER BY n.acquired_at, n.scene_id) AS agree,
               array_agg(n.observations_against ORDER BY n.acquired_at, n.scene_id) AS disagree
        FROM segwatch.change_judgement n WHERE n.change_id = c.id AND upper_inf(n.recorded)) j
    WHERE p.watch = :watch AND c.retracted_at IS NULL
      AND (CAST(:since AS timestamptz) IS NULL OR c.valid_at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR c.valid_at < :until)
    ORDER BY c.recorded_at, c.valid_at, c.id
    """
)


@dataclass(frozen=True, slots=True)
class RecordedBelief:
    """Belief of a change after one observation."""

    acquired_at: datetime
    """Acquisition time of the observation, UTC."""
    belief: Belief


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change of the ledger that holds, with how it was judged."""

    change: Change
    ground: BaseGeometry
    """Area gained or lost, or the whole object if neither is known, EPSG:4326."""
    beliefs: tuple[RecordedBelief, ...]
    """One for each observation that judged it, in order of acquisition; empty = not judged."""
    evidence: ChangeEvidence | None = None
    """Its spectral evidence; None where the source has no bands for it."""
    waited: int = 0
    """Number of observations of the place from the change on, before the one that raised it: a disappearance is raised
    by the last of ``gone_after`` misses and dated to the first."""


def list_changes(
    conn: Connection, watch: str, since: datetime | None = None, until: datetime | None = None
) -> Iterator[RecordedChange]:
    """Iterate over the changes of a watch that hold, in order of recording."""
    for row in conn.execution_options(yield_per=1000).execute(
        _CHANGES, {"watch": watch, "since": since, "until": until}
    ):
        gained, lost = (None if part is None else from_ewkb(part) for part in (row.gained, row.lost))
        change = Change(
            row.track_id,
            ChangeKind(row.kind),
            row.target,
            row.valid_at,
            row.before_m2,
            row.after_m2,
            gained,
            lost,
            row.score,
            row.baseline,
        )
        evidence = None if row.evidence is None else ChangeEvidence.from_json(row.evidence)
        yield RecordedChange(change, from_ewkb(row.geom), tuple(_load_beliefs(row)), evidence, row.waited)


def _load_beliefs(row: Row[Any]) -> Iterator[RecordedBelief]:
    if not row.times:
        return
    columns = (row.times, row.confidences, row.statuses, row.agree, row.disagree)
    for at, confidence, status, agree, disagree in zip(*columns, strict=True):
        yield RecordedBelief(at, Belief(confidence, BeliefStatus(status), agree, disagree))


def alert_not_found(alert_id: UUID) -> NotFound:
    """Build the error for an alert that does not exist or that the reader may not see."""
    return NotFound(f"there is no alert {alert_id}; `segwatch alert list WATCH` shows them")
