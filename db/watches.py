"""Watches: immutable revisions, and which one is in force."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables
from segwatch.db.codec import dump_watch, load_watch
from segwatch.db.errors import NotFound
from segwatch.db.ids import make_id
from segwatch.geo.text.redaction import public
from segwatch.geo.types.watch import Instruction, Watch

_SEES_WATCHES = text("SELECT has_schema_privilege('segwatch', 'USAGE')")


#: The same area again changes nothing. An area that has not all that earlier ones had leaves ground.
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
_NOW = text("SELECT clock_timestamp()")


@dataclass(frozen=True, slots=True)
class Applied:
    """What :func:`apply` did."""

    revision_id: UUID
    created: bool
    """True when the definition in force changed."""


@dataclass(frozen=True, slots=True)
class StoredWatch:
    """A watch and the id of its revision."""

    revision_id: UUID
    watch: Watch


def instruction_id(instruction: Instruction) -> UUID:
    """Id of an instruction revision: its text and targets."""
    return make_id("instruction", instruction.text, *instruction.targets)


def apply(conn: Connection, watch: Watch) -> Applied:
    """Put this definition in force. The same definition again changes nothing; an old one is taken up again.

    Ground that leaves the watch's area with it ends: objects wholly on it hold no longer from now on, in no view of
    what is there, without a change and without an alert. What was so before stays in the history, and when the area
    comes back they hold again, as they were. Ground that comes into the area has never been seen: see
    :mod:`segwatch.geo.tracking.ground`.
    """
    definition = dump_watch(watch)
    revision = make_id("watch", json.dumps(definition, sort_keys=True))
    area = make_id("area", watch.area.wkb_hex)
    instruction = instruction_id(watch.instruction)
    rows = (
        (tables.area, {"id": area, "geom": f"SRID=4326;{watch.area.wkt}"}),
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
                "catalog": public(watch.catalog, query=False),
                "priority": watch.priority,
            },
        ),
    )
    for table, row in rows:
        conn.execute(insert(table).values(row).on_conflict_do_nothing())
    head = insert(tables.watch_head).values(name=watch.name, watch_id=revision)
    changed = conn.execute(
        head.on_conflict_do_update(
            index_elements=["name"],
            set_={"watch_id": revision, "applied_at": head.excluded.applied_at},
            where=tables.watch_head.c.watch_id != revision,
        ).returning(tables.watch_head.c.watch_id)
    ).first()
    # the row of the head is locked now: who applies the same watch at once comes after this one
    now = conn.execute(_NOW).scalar_one()
    conn.execute(_AREA, {"name": watch.name, "area": area, "now": now})
    return Applied(revision, changed is not None)


def current(conn: Connection, name: str) -> StoredWatch:
    """The revision in force.

    Raises
    ------
    NotFound
        No watch of that name was applied.
    """
    query = (
        select(tables.watch.c.id, tables.watch.c.definition)
        .join(tables.watch_head, tables.watch_head.c.watch_id == tables.watch.c.id)
        .where(tables.watch_head.c.name == name)
    )
    row = conn.execute(query).first()
    if row is None:
        raise _unknown(name)
    return StoredWatch(row.id, load_watch(row.definition))


def require(conn: Connection, name: str) -> None:
    """Make sure that there is a watch of that name, so that nothing about it means that nothing happened.

    Analysts see views alone, none of which has watches without a scene: to them nothing stays nothing.

    Raises
    ------
    NotFound
        No watch of that name was applied.
    """
    if not conn.execute(_SEES_WATCHES).scalar_one():
        return
    if conn.execute(select(tables.watch_head.c.name).where(tables.watch_head.c.name == name)).first() is None:
        raise _unknown(name)


def _unknown(name: str) -> NotFound:
    return NotFound(f"no watch named {name!r} in the ledger; store it with: segwatch apply FILE")


def names(conn: Connection) -> list[str]:
    """Names of all watches, sorted."""
    return list(conn.execute(select(tables.watch_head.c.name).order_by(tables.watch_head.c.name)).scalars())


def observed(conn: Connection, name: str, *, answered: bool = False) -> bool:
    """Whether anything was ever queued for a watch of that name; ``answered``: and is not waiting any more."""
    query = (
        select(tables.observation.c.id)
        .join(tables.watch, tables.watch.c.id == tables.observation.c.watch_id)
        .where(tables.watch.c.name == name)
    )
    if answered:
        query = query.where(tables.observation.c.state != "pending")
    return conn.execute(query.limit(1)).first() is not None
