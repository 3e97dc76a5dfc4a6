"""How far the catalog of each watch was searched."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables
from segwatch.geo.types.scene import Watermark

_SEES_WATERMARKS = text("SELECT has_schema_privilege('segwatch', 'USAGE')")


def load(conn: Connection, revision_id: UUID) -> Watermark:
    """The mark of a watch's revision; an empty one before the first search."""
    columns = tables.watermark.c
    query = select(columns.reconciled_at, columns.reconciling_to, columns.updated_to)
    row = conn.execute(query.where(columns.revision_id == revision_id)).first()
    return Watermark(*row) if row is not None else Watermark()


def unsearched(conn: Connection, watch: str) -> bool:
    """Whether the catalog of a watch in force was never searched to the end, so that no scene means little.

    False for roles that see the analyst views alone, to whom this is not told.
    """
    if not conn.execute(_SEES_WATERMARKS).scalar_one():
        return False
    head, mark = tables.watch_head, tables.watermark
    query = (
        select(mark.c.reconciled_at)
        .select_from(head.outerjoin(mark, mark.c.revision_id == head.c.revision_id))
        .where(head.c.name == watch)
    )
    row = conn.execute(query).first()
    return row is not None and row.reconciled_at is None


def save(conn: Connection, revision_id: UUID, mark: Watermark) -> None:
    """Put this mark in the place of the one before."""
    values = {
        "reconciled_at": mark.reconciled_at,
        "reconciling_to": mark.reconciling_to,
        "updated_to": mark.updated_to,
    }
    row = insert(tables.watermark).values(revision_id=revision_id, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["revision_id"], set_=values))
