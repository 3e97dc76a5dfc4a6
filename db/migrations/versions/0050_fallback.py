# mypy: disable-error-code="attr-defined"
"""Fallback catalogs, catalogs whose silence was told, and whether the worker that probes a source still lives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0050'
down_revision = '0049'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('discovery', sa.Column('silent_at', sa.DateTime(timezone=True)), schema='segwatch')
    op.add_column('circuit', sa.Column('probe_alive_until', sa.DateTime(timezone=True)), schema='segwatch')
    op.create_table(
        'fallback_scene',
        sa.Column('scene_id', sa.UUID(), nullable=False),
        sa.Column('address', sa.Text(), nullable=False),
        sa.Column('found_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.ForeignKeyConstraint(['scene_id'], ['segwatch.scene.id'], name='fallback_scene_scene_id_fk'),
        sa.PrimaryKeyConstraint('scene_id', name='fallback_scene_pk'),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT, UPDATE, DELETE ON segwatch.fallback_scene TO segwatch_worker')


def downgrade() -> None:
    op.drop_table('fallback_scene', schema='segwatch')
    op.drop_column('circuit', 'probe_alive_until', schema='segwatch')
    op.drop_column('discovery', 'silent_at', schema='segwatch')
