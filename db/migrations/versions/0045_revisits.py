# mypy: disable-error-code="attr-defined"
"""Acquisitions that catalogs should have shown, and the lag of their publication."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

revision = '0045'
down_revision = '0044'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('discovery', sa.Column('lag_p50_seconds', sa.Double()), schema='segwatch')
    op.add_column('discovery', sa.Column('lag_p95_seconds', sa.Double()), schema='segwatch')
    op.create_table(
        'revisit',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('platform', sa.Text(), nullable=False),
        sa.Column('relative_orbit', sa.Text(), nullable=False),
        sa.Column('catalog', sa.Text(), nullable=False),
        sa.Column('repeat_days', sa.Integer(), nullable=False),
        sa.Column('seen', sa.Integer(), nullable=False),
        sa.Column('last_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('next_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('missing', postgresql.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        sa.Column('missed_in_a_row', sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint('watch_name', 'platform', 'relative_orbit', name='revisit_pk'),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT, UPDATE, DELETE ON segwatch.revisit TO segwatch_worker')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.drop_table('revisit', schema='segwatch')
    op.drop_column('discovery', 'lag_p95_seconds', schema='segwatch')
    op.drop_column('discovery', 'lag_p50_seconds', schema='segwatch')
    views.restore(before=revision)
