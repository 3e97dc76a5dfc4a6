# mypy: disable-error-code="attr-defined"
"""Accuracy assessments: samples and labels; calibrations of the confidence."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

revision = '0027'
down_revision = '0026'
branch_labels = None
depends_on = None

_TABLES = ('assessment', 'assessment_stratum', 'assessment_sample', 'assessment_label', 'calibration')
_UUID = postgresql.UUID(as_uuid=True)


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Double(), nullable=nullable)


def _count(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _time(name: str, *, now: bool = False) -> sa.Column[Any]:
    default = sa.text('clock_timestamp()') if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=False)


def _reference(of: str, name: str, table: str, *, nullable: bool = False) -> tuple[Any, Any]:
    key = sa.ForeignKeyConstraint([name], [f'segwatch.{table}.id'], name=f'{of}_{name}_fk')
    return sa.Column(name, _UUID, nullable=nullable), key


def upgrade() -> None:
    _make_samples()
    _make_labels()
    op.execute(f"GRANT SELECT, INSERT ON {', '.join(f'segwatch.{one}' for one in _TABLES)} TO segwatch_worker")
    views.apply(revision)


def _make_samples() -> None:
    op.create_table(
        'assessment',
        sa.Column('id', _UUID, nullable=False),
        *_reference('assessment', 'series_id', 'series'),
        _count('ordinal'),
        sa.Column('seed', sa.BigInteger(), nullable=False),
        _time('drawn_at'),
        sa.PrimaryKeyConstraint('id', name='assessment_pk'),
        sa.UniqueConstraint('series_id', 'ordinal', name='assessment_identity'),
        schema='segwatch',
    )
    op.create_table(
        'assessment_stratum',
        *_reference('assessment_stratum', 'assessment_id', 'assessment'),
        _text('target'),
        _text('stratum'),
        _text('unit'),
        _number('size'),
        _number('area_m2'),
        sa.PrimaryKeyConstraint('assessment_id', 'target', 'stratum', name='assessment_stratum_pk'),
        sa.CheckConstraint("unit IN ('point', 'object', 'change')", name='assessment_stratum_unit'),
        schema='segwatch',
    )
    name = 'assessment_sample'
    op.create_table(
        name,
        sa.Column('id', _UUID, nullable=False),
        *_reference(name, 'assessment_id', 'assessment'),
        _count('ordinal'),
        _text('target'),
        _text('stratum'),
        _number('probability'),
        sa.Column('geom', Geometry('GEOMETRY', 4326, spatial_index=False), nullable=False),
        *_reference(name, 'track_id', 'track', nullable=True),
        *_reference(name, 'change_id', 'change', nullable=True),
        _number('confidence', nullable=True),
        *_reference(name, 'before_scene', 'scene', nullable=True),
        *_reference(name, 'after_scene', 'scene'),
        sa.Column('agreeing', postgresql.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint('id', name='assessment_sample_pk'),
        sa.UniqueConstraint('assessment_id', 'ordinal', name='assessment_sample_identity'),
        sa.CheckConstraint('probability > 0 AND probability <= 1', name='assessment_sample_probability'),
        sa.ForeignKeyConstraint(
            ['assessment_id', 'target', 'stratum'],
            [f'segwatch.assessment_stratum.{one}' for one in ('assessment_id', 'target', 'stratum')],
            name='assessment_sample_stratum_fk',
        ),
        schema='segwatch',
    )
    op.create_index('assessment_sample_geom_ix', name, ['geom'], schema='segwatch', postgresql_using='gist')


def _make_labels() -> None:
    op.create_table(
        'assessment_label',
        *_reference('assessment_label', 'sample_id', 'assessment_sample'),
        _count('ordinal'),
        _text('label'),
        _text('labeller'),
        _time('labelled_at', now=True),
        sa.PrimaryKeyConstraint('sample_id', 'ordinal', name='assessment_label_pk'),
        sa.CheckConstraint(
            "label IN ('both', 'after', 'before', 'neither', 'unclear')", name='assessment_label_known'
        ),
        schema='segwatch',
    )
    op.create_table(
        'calibration',
        *_reference('calibration', 'series_id', 'series'),
        _text('target'),
        _text('subject'),
        _count('version'),
        _time('fitted_at', now=True),
        _count('labels'),
        sa.Column('raw', postgresql.ARRAY(sa.Double()), nullable=False),
        sa.Column('calibrated', postgresql.ARRAY(sa.Double()), nullable=False),
        sa.Column('bins_before', postgresql.JSONB(), nullable=False),
        sa.Column('bins_after', postgresql.JSONB(), nullable=False),
        _number('error_before'),
        _number('error_after'),
        sa.PrimaryKeyConstraint('series_id', 'target', 'subject', 'version', name='calibration_pk'),
        sa.CheckConstraint("subject IN ('object', 'change')", name='calibration_subject'),
        schema='segwatch',
    )


def downgrade() -> None:
    views.drop()
    for name in reversed(_TABLES):
        op.drop_table(name, schema='segwatch')
    views.restore(before=revision)
