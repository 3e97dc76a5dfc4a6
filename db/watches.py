"""Watches: immutable revisions, and which one is current."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import observations, summaries, tables, withdrawing
from segwatch.db.codec import dump_watch, load_watch, to_ewkb
from segwatch.db.errors import UnknownWatch
from segwatch.db.ids import make_id
from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.text.spelling import find_nearest
from segwatch.geo.types.watch import Instruction, Watch

_MAY_READ_WATCHES = text("SELECT has_schema_privilege('segwatch', 'USAGE')")


#: The same AOI again changes nothing. An AOI that does not cover all earlier ones is marked as narrowed.
_AREA = text(
    """
    WITH before AS (
        UPDATE segwatch.watch_area SET until = CAST(:now AS timestamptz)
        WHERE watch_name = :name AND until IS NULL AND area_id <> :area
    )
    INSERT INTO segwatch.watch_area (watch_name, since, area_id, narrowed)
    SELECT :name, CAST(:now AS timestamptz), n.id, EXISTS (
        SELECT 1 FROM segwatch.watch_area e JOIN segwatch.area g ON g.id = e.area_id
        WHERE e.watch_name = :name AND NOT ST_CoveredBy(g.geom, n.geom))
    FROM segwatch.area n
    WHERE n.id = :area AND NOT EXISTS (
        SELECT 1 FROM segwatch.watch_area c WHERE c.watch_name = :name AND c.until IS NULL AND c.area_id = :area)
    """
)
#: Whether objects may be outside an AOI of a watch.
_NARROWED = text("SELECT EXISTS (SELECT 1 FROM segwatch.watch_area WHERE watch_name = :name AND narrowed)")
_NOW = text("SELECT clock_timestamp()")


@dataclass(frozen=True, slots=True)
class Applied:
    """What :func:`apply` did."""

    revision_id: UUID
    created: bool
    """True if the current definition changed."""


@dataclass(frozen=True, slots=True)
class StoredWatch:
    """A watch and the id of its current revision."""

    revision_id: UUID
    watch: Watch


def list_channels(watch: Watch) -> list[str]:
    """List the channels that the rules of a watch name, those of escalations included, in order."""
    named = (
        (*rule.channels, *(rule.escalation.channels if rule.escalation is not None else ()))
        for rule in watch.rules
    )
    return sorted({channel for names in named for channel in names})


def make_instruction_id(instruction: Instruction) -> UUID:
    """Make the id of an instruction revision from its text and targets."""
    return make_id("instruction", instruction.text, *instruction.targets)


def apply(conn: Connection, watch: Watch) -> Applied:
    """Make this definition current. The same definition again changes nothing; an old one becomes current again.

    Objects wholly outside the new AOI are not shown from now on, without a change and without an alert. Their history
    stays, and they come back as they were if the AOI does. New ground in the AOI counts as never observed: see
    :mod:`segwatch.geo.tracking.ground`.
    """
    definition = dump_watch(watch)
    revision = make_id("watch", json.dumps(definition, sort_keys=True))
    area = make_id("area", watch.area.wkb_hex)
    instruction = make_instruction_id(watch.instruction)
    rows = (
        (tables.area, {"id": area, "geom": to_ewkb(watch.area)}),
        (
            tables.instruction,
            {"id": instruction, "text": watch.instruction.text, "targets": list(watch.instruction.targets)},
        ),
        (
            tables.watch,
            {
                "id": revision,
                "name": watch.name,
                "instruction_id": instruction,
                "area_id": area,
                "definition": definition,
                "catalog": to_public_url(watch.catalog, query=False),
                "priority": watch.priority,
            },
        ),
    )
    for table, row in rows:
        conn.execute(insert(table).values(row).on_conflict_do_nothing())
    head = insert(tables.watch_head).values(name=watch.name, revision_id=revision)
    changed = conn.execute(
        head.on_conflict_do_update(
            index_elements=["name"],
            set_={"revision_id": revision, "applied_at": head.excluded.applied_at},
            where=tables.watch_head.c.revision_id != revision,
        ).returning(tables.watch_head.c.revision_id)
    ).first()
    # the row of the head is locked now, so concurrent calls for the same watch wait here
    now = conn.execute(_NOW).scalar_one()
    moved = conn.execute(_AREA, {"name": watch.name, "area": area, "now": now}).rowcount
    if moved and conn.execute(_NARROWED, {"name": watch.name}).scalar_one():
        summaries.rebuild_watch(conn, watch.name)
    if changed is not None:
        observations.queue_again(conn, watch.name)
    return Applied(revision, changed is not None)


@dataclass(frozen=True, slots=True)
class Archived:
    """An archived watch, and what was withdrawn with it."""

    watch: Watch
    """As it ended."""
    messages: int
    """Pending messages about its alerts."""
    scenes: int
    """Pending observations."""


def archive(conn: Connection, name: str, now: datetime) -> Archived:
    """End a watch: no schedule, no rules, no scenes acquired after ``now``. Everything recorded stays.

    Pending scenes and messages are withdrawn. Applying its file again resumes the watch and queues the scenes again.

    Raises
    ------
    UnknownWatch
        No watch has this name.
    """
    watch = load_current(conn, name).watch
    end = max(watch.start, min(watch.end or now, now))
    ended = replace(watch, end=end, schedule=None, rules=())
    apply(conn, ended)
    messages = withdrawing.withdraw_watch(conn, name, f"watch {name} was archived")
    return Archived(ended, messages, observations.withdraw_pending(conn, name))


def load_current(conn: Connection, name: str) -> StoredWatch:
    """Load the current revision of a watch.

    Raises
    ------
    UnknownWatch
        No watch has this name.
    """
    query = (
        select(tables.watch.c.id, tables.watch.c.definition)
        .join(tables.watch_head, tables.watch_head.c.revision_id == tables.watch.c.id)
        .where(tables.watch_head.c.name == name)
    )
    row = conn.execute(query).first()
    if row is None:
        raise make_unknown(conn, name)
    return StoredWatch(row.id, load_watch(row.definition))


def require(conn: Connection, name: str) -> None:
    """Check that a watch of this name exists, so that an empty result means that nothing happened.

    Does nothing for analysts, who cannot read the table of watches.

    Raises
    ------
    UnknownWatch
        No watch has this name.
    """
    if not conn.execute(_MAY_READ_WATCHES).scalar_one():
        return
    if conn.execute(select(tables.watch_head.c.name).where(tables.watch_head.c.name == name)).first() is None:
        raise make_unknown(conn, name)


def make_unknown(conn: Connection, name: str) -> UnknownWatch:
    """Make the error about a name that no watch has, with the nearest one that a watch has."""
    return UnknownWatch(name, find_nearest(name, list_names(conn)))


def list_names(conn: Connection) -> list[str]:
    """List the names of all watches, sorted."""
    return list(conn.execute(select(tables.watch_head.c.name).order_by(tables.watch_head.c.name)).scalars())


def has_observations(conn: Connection, name: str, *, answered: bool = False) -> bool:
    """Tell whether the watch ever had an observation queued; with ``answered``, one that is not pending any more."""
    query = (
        select(tables.observation.c.id)
        .join(tables.watch, tables.watch.c.id == tables.observation.c.revision_id)
        .where(tables.watch.c.name == name)
    )
    if answered:
        query = query.where(tables.observation.c.state != "pending")
    return conn.execute(query.limit(1)).first() is not None
