"""Watermarks: how far the catalog of each watch was searched."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables
from segwatch.geo.types.scene import Watermark

_MAY_READ_WATERMARKS = text("SELECT has_schema_privilege('segwatch', 'USAGE')")


def load(conn: Connection, revision_id: UUID) -> Watermark:
    """Load the watermark of a watch revision; empty before the first search."""
    columns = tables.watermark.c
    query = select(columns.reconciled_at, columns.reconciling_to, columns.updated_to)
    row = conn.execute(query.where(columns.revision_id == revision_id)).first()
    return Watermark(*row) if row is not None else Watermark()


def is_unsearched(conn: Connection, watch: str) -> bool:
    """Tell whether the catalog of a watch was never searched completely, so that scenes may be missing.

    False for analysts, who cannot read watermarks.
    """
    if not conn.execute(_MAY_READ_WATERMARKS).scalar_one():
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
    """Store the watermark of a watch revision."""
    values = {
        "reconciled_at": mark.reconciled_at,
        "reconciling_to": mark.reconciling_to,
        "updated_to": mark.updated_to,
    }
    row = insert(tables.watermark).values(revision_id=revision_id, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["revision_id"], set_=values))
