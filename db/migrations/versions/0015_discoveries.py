# mypy: disable-error-code="attr-defined"
"""When each watch's catalog was asked last, and when it answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'discovery',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('attempted_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('answered_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('failures', sa.Integer(), server_default='0', nullable=False),
        sa.Column('error', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('watch_name', name=op.f('discovery_pk')),
        sa.CheckConstraint('(failures = 0) = (error IS NULL)', name='discovery_error'),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT, UPDATE ON segwatch.discovery TO segwatch_worker')


def downgrade() -> None:
    op.drop_table('discovery', schema='segwatch')
