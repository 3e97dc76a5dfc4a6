# mypy: disable-error-code="attr-defined"
"""Views of objects, changes and alerts show what speaks for them: the agreement of the shadow segmenter, the accuracy.

The accuracy of assessments that were labelled before is stored once the schema is up to date.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

revision = '0029'
down_revision = '0028'
branch_labels = None
depends_on = None

_REFERENCE = 'series_reference'
_ACCURACY = 'target_accuracy'
_BEFORE, _NOW = 'detection_evidence_ix', 'detection_opinion_ix'


def upgrade() -> None:
    op.create_index(
        _NOW,
        'detection',
        ['track_id', 'observation_id'],
        schema='segwatch',
        postgresql_where=sa.text('evidence IS NOT NULL OR shadow_share IS NOT NULL'),
    )
    op.drop_index(_BEFORE, 'detection', schema='segwatch')
    op.create_table(
        _ACCURACY,
        sa.Column(
            'assessment_id',
            postgresql.UUID(as_uuid=True),
            sa.ForeignKey('segwatch.assessment.id', name=f'{_ACCURACY}_assessment_id_fk'),
            nullable=False,
        ),
        sa.Column('target', sa.Text(), nullable=False),
        sa.Column('labels', sa.Integer(), nullable=False),
        sa.Column('words', sa.Text(), nullable=False),
        sa.Column('estimates', postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint('assessment_id', 'target', name=f'{_ACCURACY}_pk'),
        schema='segwatch',
    )
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON segwatch.{_ACCURACY} TO segwatch_worker')
    _make_references()
    views.apply(revision)


def _make_references() -> None:
    """A new series is registered to the chips of the series whose objects it takes over."""
    op.create_table(
        _REFERENCE,
        _reference('series_id', 'series'),
        sa.Column('crs', sa.Text(), nullable=False),
        sa.Column('pixel_m', sa.Double(), nullable=False),
        sa.Column('grid_row', sa.Integer(), nullable=False),
        sa.Column('grid_col', sa.Integer(), nullable=False),
        _reference('observation_id', 'observation'),
        *(
            sa.Column(name, sa.Double(), nullable=False)
            for name in ('shift_east_m', 'shift_north_m', 'shift_quality')
        ),
        sa.Column('shift_source', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            'series_id', 'crs', 'pixel_m', 'grid_row', 'grid_col', name=f'{_REFERENCE}_pk'
        ),
        schema='segwatch',
    )
    op.execute(f'GRANT SELECT, INSERT ON segwatch.{_REFERENCE} TO segwatch_worker')


def _reference(name: str, table: str) -> sa.Column[Any]:
    key = sa.ForeignKey(f'segwatch.{table}.id', name=f'{_REFERENCE}_{name}_fk')
    return sa.Column(name, postgresql.UUID(as_uuid=True), key, nullable=False)


def downgrade() -> None:
    views.drop()
    op.drop_table(_REFERENCE, schema='segwatch')
    op.drop_table(_ACCURACY, schema='segwatch')
    op.create_index(
        _BEFORE,
        'detection',
        ['track_id', 'observation_id'],
        schema='segwatch',
        postgresql_where=sa.text('evidence IS NOT NULL'),
    )
    op.drop_index(_NOW, 'detection', schema='segwatch')
    views.restore(before=revision)
