# mypy: disable-error-code="attr-defined"
"""Tokens say when they were last used; catalogs announce new items, and events have a view."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

revision = '0033'
down_revision = '0032'
branch_labels = None
depends_on = None

_NOW = sa.text('clock_timestamp()')


def upgrade() -> None:
    op.add_column(
        'access_token', sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True), schema='segwatch'
    )
    op.create_table(
        'announcement',
        sa.Column('id', sa.UUID(), nullable=False),
        sa.Column('received_at', sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('announcement_pk')),
        schema='segwatch',
    )
    op.create_index('announcement_received_ix', 'announcement', ['received_at'], schema='segwatch')
    op.create_table(
        'discovery_request',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('requested_at', sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column('announcements', sa.Integer(), server_default='1', nullable=False),
        sa.Column('item_id', sa.Text(), nullable=False),
        sa.Column('taken_until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
        sa.PrimaryKeyConstraint('watch_name', name=op.f('discovery_request_pk')),
        schema='segwatch',
    )
    op.execute(
        'GRANT SELECT, INSERT, UPDATE, DELETE ON segwatch.announcement, segwatch.discovery_request TO segwatch_worker'
    )
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.drop_table('discovery_request', schema='segwatch')
    op.drop_table('announcement', schema='segwatch')
    op.drop_column('access_token', 'last_used_at', schema='segwatch')
    views.restore(before=revision)
