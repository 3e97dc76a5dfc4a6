# mypy: disable-error-code="attr-defined"
"""Presence of targets in observations, and what a switch to the shadow segmenter would change.

Comparisons from before have no such counts; their shadows ran on every scene.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

revision = '0030'
down_revision = '0029'
branch_labels = None
depends_on = None

_COUNTS = ('lost_count', 'gained_count', 'changed_count')


def upgrade() -> None:
    op.create_table(
        'target_presence',
        sa.Column('observation_id', sa.UUID(), nullable=False),
        sa.Column('target', sa.Text(), nullable=False),
        sa.Column('presence', sa.Double(), nullable=False),
        sa.Column('tiles', sa.Integer(), nullable=False),
        sa.Column('tiles_present', sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ['observation_id'], ['segwatch.observation.id'], name=op.f('target_presence_observation_id_fk')
        ),
        sa.PrimaryKeyConstraint('observation_id', 'target', name=op.f('target_presence_pk')),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT, UPDATE ON segwatch.target_presence TO segwatch_worker')
    op.add_column(
        'shadow_result',
        sa.Column('share', sa.Double(), server_default=sa.text('1'), nullable=False),
        schema='segwatch',
    )
    for name in _COUNTS:
        op.add_column('shadow_agreement', sa.Column(name, sa.Integer()), schema='segwatch')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    for name in _COUNTS:
        op.drop_column('shadow_agreement', name, schema='segwatch')
    op.drop_column('shadow_result', 'share', schema='segwatch')
    op.drop_table('target_presence', schema='segwatch')
    views.restore(before=revision)
