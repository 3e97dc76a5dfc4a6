# mypy: disable-error-code="attr-defined"
"""Confidence and status of objects and changes, counts of a series, and shifts of observations.

Rows from before stay without a belief: nobody judged them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

revision = '0024'
down_revision = '0023'
branch_labels = None
depends_on = None

_STATUSES = "status IN ('provisional', 'confirmed', 'refuted')"
_OPEN = sa.text('upper_inf(recorded)')


def _belief(*, nullable: bool = False) -> list[sa.Column[Any]]:
    return [
        sa.Column('confidence', sa.Double(), nullable=nullable),
        sa.Column('status', sa.Text(), nullable=nullable),
        sa.Column('observations_for', sa.Integer(), nullable=nullable),
        sa.Column('observations_against', sa.Integer(), nullable=nullable),
    ]


def _reference(name: str, table: str, of: str) -> tuple[sa.Column[Any], sa.ForeignKeyConstraint]:
    key = sa.ForeignKeyConstraint([name], [f'segwatch.{table}.id'], name=f'{of}_{name}_fk')
    return sa.Column(name, postgresql.UUID(as_uuid=True), nullable=False), key


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def upgrade() -> None:
    for name in ('shift_east_m', 'shift_north_m', 'shift_quality'):
        op.add_column('observation', sa.Column(name, sa.Double()), schema='segwatch')
    op.add_column('observation', sa.Column('shift_source', sa.Text()), schema='segwatch')
    op.create_check_constraint(
        'observation_shift_source', 'observation', "shift_source IN ('pixels', 'outlines', 'none')", schema='segwatch'
    )
    for column in _belief(nullable=True):
        op.add_column('track_state', column, schema='segwatch')
    op.create_check_constraint('track_state_status', 'track_state', _STATUSES, schema='segwatch')
    op.create_check_constraint(
        'track_state_judged',
        'track_state',
        'num_nulls(confidence, status, observations_for, observations_against) IN (0, 4)',
        schema='segwatch',
    )
    op.add_column(
        'change', sa.Column('is_open', sa.Boolean(), server_default='false', nullable=False), schema='segwatch'
    )
    op.create_index(
        'change_open_ix',
        'change',
        ['geom'],
        schema='segwatch',
        postgresql_using='gist',
        postgresql_where=sa.text('is_open AND retracted_at IS NULL'),
    )
    _make_judgements()
    _make_counts()
    op.drop_index('detection_geom_ix', 'detection', schema='segwatch')
    op.create_index(
        'detection_near_ix', 'detection', ['observation_id', 'geom'], schema='segwatch', postgresql_using='gist'
    )
    op.execute('DROP FUNCTION watch.objects_as_of')
    op.execute('DROP FUNCTION watch.why_not')
    views.apply(revision)


def _make_judgements() -> None:
    op.create_table(
        'change_evidence',
        sa.Column('id', postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column('content', postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint('id', name='change_evidence_pk'),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT ON segwatch.change_evidence TO segwatch_worker')
    name = 'change_judgement'
    op.create_table(
        name,
        sa.Column('id', postgresql.UUID(as_uuid=True), nullable=False),
        *_reference('change_id', 'change', name),
        *_reference('observation_id', 'observation', name),
        _time('acquired_at'),
        *_reference('scene_id', 'scene', name),
        *_belief(),
        _time('earliest'),
        _time('latest'),
        sa.Column('views', postgresql.JSONB(), nullable=False),
        sa.Column('evidence_id', postgresql.UUID(as_uuid=True)),
        sa.ForeignKeyConstraint(
            ['evidence_id'], ['segwatch.change_evidence.id'], name=f'{name}_evidence_id_fk'
        ),
        sa.Column('recorded', postgresql.TSTZRANGE(), nullable=False),
        sa.CheckConstraint('NOT isempty(recorded)', name='change_judgement_range_not_empty'),
        sa.CheckConstraint(_STATUSES, name='change_judgement_status'),
        sa.PrimaryKeyConstraint('id', name=f'{name}_pk'),
        schema='segwatch',
    )
    order: list[str | sa.TextClause] = ['change_id', sa.text('acquired_at DESC'), sa.text('scene_id DESC')]
    op.create_index(
        'change_judgement_now_ix', name, order, schema='segwatch', unique=True, postgresql_where=_OPEN
    )
    op.create_index(
        'change_judgement_observation_ix', name, ['observation_id'], schema='segwatch', postgresql_where=_OPEN
    )
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON segwatch.{name} TO segwatch_worker')


def _make_counts() -> None:
    name = 'series_counts'
    op.create_table(
        name,
        *_reference('observation_id', 'observation', name),
        sa.Column('target', sa.Text(), nullable=False),
        sa.Column('counts', postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint('observation_id', 'target', name=f'{name}_pk'),
        schema='segwatch',
    )
    op.execute(f'GRANT SELECT, INSERT, DELETE ON segwatch.{name} TO segwatch_worker')


def downgrade() -> None:
    views.drop()
    op.drop_index('detection_near_ix', 'detection', schema='segwatch')
    op.create_index('detection_geom_ix', 'detection', ['geom'], schema='segwatch', postgresql_using='gist')
    op.drop_table('series_counts', schema='segwatch')
    op.drop_table('change_judgement', schema='segwatch')
    op.drop_table('change_evidence', schema='segwatch')
    op.drop_index('change_open_ix', 'change', schema='segwatch')
    op.drop_column('change', 'is_open', schema='segwatch')
    for name in ('confidence', 'status', 'observations_for', 'observations_against'):
        op.drop_column('track_state', name, schema='segwatch')
    for name in ('shift_east_m', 'shift_north_m', 'shift_quality', 'shift_source'):
        op.drop_column('observation', name, schema='segwatch')
    views.restore(before=revision)
