# mypy: disable-error-code="attr-defined"
"""Rejections of items end when the item becomes usable, is no longer found, or the watch gets another profile."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

revision = '0023'
down_revision = '0022'
branch_labels = None
depends_on = None

#: What the view worked out until now. What it could not see ends with the next complete search.
_END = """
    UPDATE segwatch.rejected_item e SET ended_at = s.at
    FROM (
        SELECT r.id, least(
            (SELECT min(n.recorded_at) FROM segwatch.rejected_item n JOIN segwatch.watch v ON v.id = n.revision_id
             WHERE n.item_id = r.item_id AND n.collection = r.collection AND v.name = w.name
               AND (n.recorded_at, n.id) > (r.recorded_at, r.id)),
            (SELECT min(o.discovered_at)
             FROM segwatch.scene_item i
             JOIN segwatch.scene s ON s.id = i.scene_id
             JOIN segwatch.observation o ON o.scene_id = i.scene_id AND i.id = ANY(o.items)
             JOIN segwatch.watch v ON v.id = o.revision_id
             WHERE i.item_id = r.item_id AND r.collection IN (s.collection, '*') AND v.name = w.name
               AND o.discovered_at > r.recorded_at)) AS at
        FROM segwatch.rejected_item r JOIN segwatch.watch w ON w.id = r.revision_id) s
    WHERE s.id = e.id AND s.at IS NOT NULL
"""


def upgrade() -> None:
    op.add_column('rejected_item', sa.Column('ended_at', sa.DateTime(timezone=True)), schema='segwatch')
    op.create_index(
        'rejected_item_current_ix',
        'rejected_item',
        ['revision_id'],
        schema='segwatch',
        postgresql_where=sa.text('ended_at IS NULL'),
    )
    op.execute(_END)
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.drop_index('rejected_item_current_ix', 'rejected_item', schema='segwatch')
    op.drop_column('rejected_item', 'ended_at', schema='segwatch')
    views.restore(before=revision)
