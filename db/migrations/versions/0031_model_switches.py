# mypy: disable-error-code="attr-defined"
"""Switches of watches between models, and the agreement of a model's masks over rewordings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

revision = '0031'
down_revision = '0030'
branch_labels = None
depends_on = None

_NOW = sa.text('clock_timestamp()')


def upgrade() -> None:
    op.create_table(
        'model_switch',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('ordinal', sa.Integer(), nullable=False),
        sa.Column('folder', sa.Text(), nullable=False),
        sa.Column('model_version', sa.Text(), nullable=False),
        sa.Column('from_version', sa.Text(), nullable=False),
        sa.Column('switched_by', sa.Text(), nullable=False),
        sa.Column('switched_at', sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column('undone_by', sa.Text()),
        sa.Column('undone_at', sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint('watch_name', 'ordinal', name='model_switch_pk'),
        sa.CheckConstraint('(undone_by IS NULL) = (undone_at IS NULL)', name='model_switch_undone'),
        schema='segwatch',
    )
    op.create_table(
        'rewording',
        sa.Column('instruction_id', sa.UUID(), nullable=False),
        sa.Column('model_version', sa.Text(), nullable=False),
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('scene_id', sa.UUID(), nullable=False),
        sa.Column('wordings', postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column('tiles', sa.Integer(), nullable=False),
        sa.Column('agreement', sa.Double()),
        sa.Column('by_target', postgresql.JSONB(), nullable=False),
        sa.Column('measured_at', sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint('instruction_id', 'model_version', 'watch_name', name='rewording_pk'),
        sa.ForeignKeyConstraint(
            ['instruction_id'], ['segwatch.instruction.id'], name='rewording_instruction_id_fk'
        ),
        sa.ForeignKeyConstraint(['scene_id'], ['segwatch.scene.id'], name='rewording_scene_id_fk'),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT, UPDATE ON segwatch.model_switch, segwatch.rewording TO segwatch_worker')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.drop_table('rewording', schema='segwatch')
    op.drop_table('model_switch', schema='segwatch')
    views.restore(before=revision)
