# mypy: disable-error-code="attr-defined"
"""Every name of an event, and channels that want no more."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    default = None if nullable else sa.text('clock_timestamp()')
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        'event_name',
        sa.Column('source', sa.Text(), nullable=False),
        sa.Column('external_id', sa.Text(), nullable=False),
        sa.Column('event_source', sa.Text(), nullable=False),
        sa.Column('event_external_id', sa.Text(), nullable=False),
        _time('since', nullable=True),
        _time('withdrawn_at', nullable=True),
        _time('recorded_at'),
        sa.PrimaryKeyConstraint('source', 'external_id', name=op.f('event_name_pk')),
        schema='segwatch',
    )
    op.create_index(
        'event_name_event_ix', 'event_name', ['event_source', 'event_external_id'], schema='segwatch'
    )
    op.execute(
        "INSERT INTO segwatch.event_name (source, external_id, event_source, event_external_id, recorded_at)"
        " SELECT source, external_id, source, external_id, min(recorded_at) FROM segwatch.event GROUP BY 1, 2, 3, 4"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON segwatch.event_name TO segwatch_worker")
    op.add_column('channel', _time('gone_at', nullable=True), schema='segwatch')


def downgrade() -> None:
    op.drop_column('channel', 'gone_at', schema='segwatch')
    op.drop_table('event_name', schema='segwatch')
