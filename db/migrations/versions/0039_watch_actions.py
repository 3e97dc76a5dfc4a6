# mypy: disable-error-code="attr-defined"
"""Who paused, resumed or archived a watch, and when; a paused watch does no work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

revision = '0039'
down_revision = '0037'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'watch_action',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('ordinal', sa.Integer(), nullable=False),
        sa.Column('action', sa.Text(), nullable=False),
        sa.Column('person', sa.Text(), nullable=False),
        sa.Column('note', sa.Text(), nullable=False),
        sa.Column(
            'acted_at',
            sa.DateTime(timezone=True),
            server_default=sa.text('clock_timestamp()'),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint('watch_name', 'ordinal', name='watch_action_pk'),
        sa.CheckConstraint("action IN ('paused', 'resumed', 'archived')", name='watch_action_known'),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT ON segwatch.watch_action TO segwatch_worker')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.drop_table('watch_action', schema='segwatch')
    views.restore(before=revision)
