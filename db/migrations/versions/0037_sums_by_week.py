# mypy: disable-error-code="attr-defined"
"""Sums by week and administrative area, logins of people, a key for every view, and objects of the past by place.

Series that were published before are summed once the schema is up to date.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

revision = '0037'
down_revision = '0036'
branch_labels = None
depends_on = None

_NOW = sa.text('clock_timestamp()')
_STATUSES = ('confirmed', 'provisional', 'refuted', 'not_judged')
_SUMS = ('observed_by_week', 'reviewed_area', 'area_by_week', 'admin_area_part', 'admin_area')


def upgrade() -> None:
    _make_admin_areas()
    _make_sums()
    op.create_table(
        'database_user',
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('watches', postgresql.ARRAY(sa.Text())),
        sa.Column('shows_names', sa.Boolean(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint('name', name='database_user_pk'),
        schema='segwatch',
    )
    for name in _SUMS:
        op.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON segwatch.{name} TO segwatch_worker')
    op.execute(
        'ALTER TABLE segwatch.database_user SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1)'
    )
    op.create_index('track_state_geom_ix', 'track_state', ['geom'], schema='segwatch', postgresql_using='gist')
    views.apply(revision)


def _make_admin_areas() -> None:
    op.create_table(
        'admin_area',
        _uuid('id'),
        sa.Column('layer', sa.Text(), nullable=False),
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('area_m2', sa.Double(), nullable=False),
        _geometry(),
        sa.Column('loaded_at', sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint('id', name='admin_area_pk'),
        sa.UniqueConstraint('layer', 'name', name='admin_area_identity'),
        schema='segwatch',
    )
    op.create_table(
        'admin_area_part',
        _uuid('admin_area_id', 'admin_area', 'admin_area_part_admin_area_id_fk'),
        sa.Column('ordinal', sa.Integer(), nullable=False, autoincrement=False),
        _geometry(),
        sa.PrimaryKeyConstraint('admin_area_id', 'ordinal', name='admin_area_part_pk'),
        schema='segwatch',
    )
    op.create_index(
        'admin_area_part_geom_ix', 'admin_area_part', ['geom'], schema='segwatch', postgresql_using='gist'
    )


def _make_sums() -> None:
    op.create_table(
        'area_by_week',
        _uuid('series_id', 'series', 'area_by_week_series_id_fk'),
        _uuid('admin_area_id'),
        sa.Column('target', sa.Text(), nullable=False),
        *_counts(),
        sa.PrimaryKeyConstraint('series_id', 'admin_area_id', 'target', 'week', name='area_by_week_pk'),
        schema='segwatch',
    )
    op.create_table(
        'reviewed_area',
        _uuid('track_id', 'track', 'reviewed_area_track_id_fk'),
        _uuid('admin_area_id'),
        *_counts(),
        sa.PrimaryKeyConstraint('track_id', 'admin_area_id', 'week', name='reviewed_area_pk'),
        schema='segwatch',
    )
    op.create_table(
        'observed_by_week',
        _uuid('series_id', 'series', 'observed_by_week_series_id_fk'),
        _uuid('admin_area_id'),
        sa.Column('week', sa.Date(), nullable=False),
        sa.Column('scenes', sa.Integer(), nullable=False),
        sa.Column('observed_m2', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('series_id', 'admin_area_id', 'week', name='observed_by_week_pk'),
        schema='segwatch',
    )


def _counts() -> tuple[sa.Column[Any], ...]:
    names = (f'{status}_{what}' for status in _STATUSES for what in ('objects', 'cm2'))
    return (
        sa.Column('week', sa.Date(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in names),
    )


def _uuid(name: str, table: str = '', key: str = '') -> sa.Column[Any]:
    references = [sa.ForeignKey(f'segwatch.{table}.id', name=key)] if table else []
    return sa.Column(name, postgresql.UUID(as_uuid=True), *references, nullable=False)


def _geometry() -> sa.Column[Any]:
    return sa.Column('geom', Geometry('GEOMETRY', 4326, spatial_index=False), nullable=False)


def downgrade() -> None:
    views.drop()
    op.drop_index('track_state_geom_ix', 'track_state', schema='segwatch')
    op.drop_table('database_user', schema='segwatch')
    for name in _SUMS:
        op.drop_table(name, schema='segwatch')
    views.restore(before=revision)
