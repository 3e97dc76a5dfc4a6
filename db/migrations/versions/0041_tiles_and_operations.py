# mypy: disable-error-code="attr-defined"
"""Versions of what the map shows, and the questions of the map and of the operators' page."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

revision = '0041'
down_revision = '0040'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'watch_touch',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('began_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('transaction', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint('watch_name', 'began_at', 'transaction', name='watch_touch_pk'),
        schema='segwatch',
    )
    op.create_index('track_lineage_child_ix', 'track_lineage', ['child'], schema='segwatch')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.drop_index('track_lineage_child_ix', table_name='track_lineage', schema='segwatch')
    op.drop_table('watch_touch', schema='segwatch')
    views.restore(before=revision)
