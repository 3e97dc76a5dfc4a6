"""Watermarks: how far the catalog of each watch was searched."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables
from segwatch.geo.types.scene import Watermark

#: Whether revision ``o`` of a watch searches as revision ``w`` does and queues what it finds in the same series. Then
#: a search of one is a search of the other: a new schedule or rule searches nothing anew.
_SAME_SEARCH = """
    o.name = w.name AND o.area_id = w.area_id AND o.instruction_id = w.instruction_id
    AND (SELECT bool_and(o.definition -> key IS NOT DISTINCT FROM w.definition -> key)
         FROM unnest(ARRAY['catalog', 'catalog_name', 'profile', 'start', 'end']) key)"""
_LOAD = text(
    f"""
    SELECT m.reconciled_at, m.reconciling_to, m.updated_to
    FROM segwatch.watch w
    JOIN segwatch.watch o ON {_SAME_SEARCH}
    JOIN segwatch.watermark m ON m.revision_id = o.id
    WHERE w.id = :revision
    ORDER BY m.reconciled_at DESC NULLS LAST, m.updated_to DESC NULLS LAST, o.id = w.id DESC
    LIMIT 1
    """  # noqa: S608 - part of this file
)
_IS_UNSEARCHED = text(
    f"""
    SELECT NOT EXISTS (SELECT 1 FROM segwatch.watch o JOIN segwatch.watermark m ON m.revision_id = o.id
                       WHERE {_SAME_SEARCH} AND m.reconciled_at IS NOT NULL)
    FROM segwatch.watch_head h JOIN segwatch.watch w ON w.id = h.revision_id WHERE h.name = :watch
    """  # noqa: S608 - part of this file
)
_MAY_READ_WATERMARKS = text("SELECT has_schema_privilege('segwatch', 'USAGE')")


def load(conn: Connection, revision_id: UUID) -> Watermark:
    """Load the watermark of a watch revision; empty before the first search.

    Searches of other revisions of the watch count if they search the same: catalog, profile, area, period, instruction.
    """
    row = conn.execute(_LOAD, {"revision": revision_id}).first()
    return Watermark(*row) if row is not None else Watermark()


def is_unsearched(conn: Connection, watch: str) -> bool:
    """Tell whether the catalog of a watch was never searched completely, so that scenes may be missing.

    False for analysts, who cannot read watermarks.
    """
    if not conn.execute(_MAY_READ_WATERMARKS).scalar_one():
        return False
    return bool(conn.execute(_IS_UNSEARCHED, {"watch": watch}).scalar())


def save(conn: Connection, revision_id: UUID, mark: Watermark) -> None:
    """Store the watermark of a watch revision."""
    values = {
        "reconciled_at": mark.reconciled_at,
        "reconciling_to": mark.reconciling_to,
        "updated_to": mark.updated_to,
    }
    row = insert(tables.watermark).values(revision_id=revision_id, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["revision_id"], set_=values))
