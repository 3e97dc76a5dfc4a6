# mypy: disable-error-code="attr-defined"
"""Second opinions: spectral evidence of detections and changes, and comparisons with shadow segmenters."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

revision = '0026'
down_revision = '0025'
branch_labels = None
depends_on = None

_TABLES = ('index_cells', 'change_evidence', 'shadow_result', 'shadow_agreement', 'shadow_difference')


def _table(name: str, key: tuple[str, ...], references: dict[str, str], *columns: sa.Column[Any]) -> None:
    """Create a table; ``references`` gives the table that each foreign key refers to."""
    keys = [sa.Column(one, sa.UUID(), nullable=one not in key) for one in references]
    constraints = [
        sa.ForeignKeyConstraint([one], [f'segwatch.{table}.id'], name=op.f(f'{name}_{one}_fk'))
        for one, table in references.items()
    ]
    op.create_table(
        name,
        *keys,
        *columns,
        *constraints,
        sa.PrimaryKeyConstraint(*key, name=op.f(f'{name}_pk')),
        schema='segwatch',
    )


def _column(name: str, kind: object) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)  # type: ignore[arg-type]


def upgrade() -> None:
    op.add_column('detection', sa.Column('evidence', postgresql.JSONB()), schema='segwatch')
    for name in ('shadow_share', 'shadow_iou'):
        op.add_column('detection', sa.Column(name, sa.Double()), schema='segwatch')
    op.create_index(
        'detection_evidence_ix',
        'detection',
        ['track_id', 'observation_id'],
        schema='segwatch',
        postgresql_where=sa.text('evidence IS NOT NULL'),
    )
    observation = {'observation_id': 'observation'}
    _table(
        'index_cells',
        ('observation_id',),
        observation,
        _column('crs', sa.Text()),
        *(_column(name, sa.Double()) for name in ('cell_m', 'west', 'north')),
        *(_column(name, sa.Integer()) for name in ('width', 'height')),
        _column('names', postgresql.ARRAY(sa.Text())),
        _column('values', sa.LargeBinary()),
    )
    _table(
        'change_evidence',
        ('change_id',),
        {'change_id': 'change', 'before_id': 'observation'},
        _column('evidence', postgresql.JSONB()),
    )
    _table(
        'shadow_result',
        ('observation_id',),
        observation,
        _column('version', sa.Text()),
        sa.Column('reason', sa.Text()),
        sa.Column(
            'recorded_at',
            sa.DateTime(timezone=True),
            server_default=sa.text('clock_timestamp()'),
            nullable=False,
        ),
    )
    _table(
        'shadow_agreement',
        ('observation_id', 'target'),
        observation,
        _column('target', sa.Text()),
        *(_column(name, sa.Double()) for name in ('both_m2', 'only_primary_m2', 'only_shadow_m2')),
        *(_column(name, sa.Integer()) for name in ('primary_count', 'shadow_count')),
    )
    _table(
        'shadow_difference',
        ('observation_id', 'ordinal'),
        observation,
        _column('ordinal', sa.Integer()),
        _column('target', sa.Text()),
        _column('found_by', sa.Text()),
        _column('geom', Geometry('GEOMETRY', 4326, spatial_index=False)),
        _column('area_m2', sa.Double()),
    )
    op.create_index(
        'shadow_difference_geom_ix', 'shadow_difference', ['geom'], schema='segwatch', postgresql_using='gist'
    )
    for name in _TABLES:
        op.execute(f'GRANT SELECT, INSERT, UPDATE ON segwatch.{name} TO segwatch_worker')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    for name in reversed(_TABLES):
        op.drop_table(name, schema='segwatch')
    op.drop_index('detection_evidence_ix', 'detection', schema='segwatch')
    for name in ('evidence', 'shadow_share', 'shadow_iou'):
        op.drop_column('detection', name, schema='segwatch')
    views.restore(before=revision)
