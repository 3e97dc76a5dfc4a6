# mypy: disable-error-code="attr-defined"
"""Trials: an instruction tried on one scene, without a watch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0046'
down_revision = '0045'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'trial',
        sa.Column('id', sa.UUID(), nullable=False),
        sa.Column('reader', sa.Text(), nullable=False),
        sa.Column('source', sa.Text(), nullable=False),
        sa.Column('definition', postgresql.JSONB(), nullable=False),
        sa.Column('until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('state', sa.Text(), nullable=False),
        sa.Column(
            'requested_at',
            sa.DateTime(timezone=True),
            server_default=sa.text('clock_timestamp()'),
            nullable=False,
        ),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('worker', sa.Text(), nullable=True),
        sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
        sa.Column('stage', sa.Text(), nullable=True),
        sa.Column('tiles_done', sa.Integer(), nullable=True),
        sa.Column('tiles', sa.Integer(), nullable=True),
        sa.Column('reason', sa.Text(), nullable=True),
        sa.Column('result', postgresql.JSONB(), nullable=True),
        sa.Column('picture', sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint('id', name='trial_pk'),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name='trial_state'),
        sa.CheckConstraint("(state = 'done') = (result IS NOT NULL)", name='trial_done'),
        sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name='trial_leased'),
        schema='segwatch',
    )
    op.create_index('trial_reader_ix', 'trial', ['reader', 'requested_at'], schema='segwatch')
    op.create_index('trial_expires_ix', 'trial', ['expires_at'], schema='segwatch')
    op.execute('GRANT SELECT, INSERT, UPDATE, DELETE ON segwatch.trial TO segwatch_worker')


def downgrade() -> None:
    op.drop_table('trial', schema='segwatch')
