"""How far the catalog of each watch was searched."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables
from segwatch.geo.types import Watermark


def load(conn: Connection, watch_revision_id: UUID) -> Watermark:
    """The mark of a watch's revision; an empty one before the first search."""
    columns = tables.watermark.c
    query = select(columns.reconciled_at, columns.reconciling_to, columns.updated_to)
    row = conn.execute(query.where(columns.watch_id == watch_revision_id)).first()
    return Watermark(*row) if row is not None else Watermark()


def save(conn: Connection, watch_revision_id: UUID, mark: Watermark) -> None:
    """Put this mark in the place of the one before."""
    values = {
        "reconciled_at": mark.reconciled_at,
        "reconciling_to": mark.reconciling_to,
        "updated_to": mark.updated_to,
    }
    row = insert(tables.watermark).values(watch_id=watch_revision_id, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["watch_id"], set_=values))
