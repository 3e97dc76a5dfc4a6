# mypy: disable-error-code="attr-defined"
"""Circuits of sources that fail; failed attempts that are not counted; messages that were withdrawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

SQL = Path(__file__).parents[2] / "sql"

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _count(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), server_default='0', nullable=False)


def _added() -> list[sa.Column[Any]]:
    circuits: sa.Column[Any] = sa.Column('circuits', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False)
    times = (_time('refused_since'), _time('refused_at'))
    return [circuits, _count('refusals'), *times, _count('lost_leases')]


def upgrade() -> None:
    op.create_table(
        'circuit',
        sa.Column('name', sa.Text(), nullable=False),
        _count('failures'),
        _time('opened_at'),
        _time('retry_at'),
        sa.Column('probe_worker', sa.Text(), nullable=True),
        _time('probe_until'),
        sa.Column('error', sa.Text(), nullable=True),
        _time('closed_at'),
        sa.PrimaryKeyConstraint('name', name=op.f('circuit_pk')),
        sa.CheckConstraint('(failures = 0) = (retry_at IS NULL)', name='circuit_open'),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT, UPDATE ON segwatch.circuit TO segwatch_worker')
    for column in _added():
        op.add_column('observation', column, schema='segwatch')
    for part in sorted((SQL / "0018").glob("*.sql")):
        op.execute(sa.text(part.read_text(encoding="utf-8").replace(":", "\\:")))


def downgrade() -> None:
    views.drop()
    for column in reversed(_added()):
        op.drop_column('observation', column.name, schema='segwatch')
    op.drop_table('circuit', schema='segwatch')
    views.restore(before=revision)
