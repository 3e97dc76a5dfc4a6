# mypy: disable-error-code="attr-defined"
"""Runs that tell that they are alive, locks that only workers can hold, and real notifications."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None

_SQL = Path(__file__).parents[2] / 'sql' / '0017'


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    default = None if nullable else sa.text('clock_timestamp()')
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        'mutex',
        sa.Column('name', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('mutex_pk')),
        schema='segwatch',
    )
    op.execute("INSERT INTO segwatch.mutex (name) VALUES ('digest'), ('event')")
    op.create_table(
        'run',
        sa.Column('id', sa.UUID(), nullable=False),
        sa.Column('flow', sa.Text(), nullable=False),
        sa.Column('watch', sa.Text(), nullable=True),
        sa.Column('subject', sa.Text(), nullable=True),
        sa.Column('worker', sa.Text(), nullable=False),
        sa.Column('flow_run_id', sa.UUID(), nullable=True),
        _time('started_at'),
        _time('heartbeat_at'),
        sa.Column('lease_until', sa.DateTime(timezone=True), nullable=False),
        _time('ended_at', nullable=True),
        sa.Column('outcome', sa.Text(), nullable=True),
        _time('reported_at', nullable=True),
        sa.CheckConstraint('(ended_at IS NULL) = (outcome IS NULL)', name=op.f('run_ended')),
        sa.PrimaryKeyConstraint('id', name=op.f('run_pk')),
        schema='segwatch',
    )
    at_work = sa.text('ended_at IS NULL')
    op.create_index(
        'run_alone_ix', 'run', ['subject'], unique=True, schema='segwatch', postgresql_where=at_work
    )
    op.create_index('run_flow_run_ix', 'run', ['flow_run_id'], schema='segwatch')
    op.create_index('run_ended_ix', 'run', ['ended_at'], schema='segwatch')
    op.execute('GRANT SELECT, INSERT, UPDATE ON segwatch.mutex, segwatch.run TO segwatch_worker')
    # the only rows that a worker may delete: nothing is known by them once a run is over
    op.execute('GRANT DELETE ON segwatch.run TO segwatch_worker')
    for part in sorted(_SQL.glob('*.sql')):
        op.execute(sa.text(part.read_text(encoding='utf-8').replace(':', '\\:')))


def downgrade() -> None:
    op.execute('DROP FUNCTION watch.notified(text)')
    op.drop_table('run', schema='segwatch')
    op.drop_table('mutex', schema='segwatch')
