# mypy: disable-error-code="attr-defined"
"""Which ground each series has seen, and which areas each watch has had."""

from __future__ import annotations

from pathlib import Path

import geoalchemy2
import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

SQL = Path(__file__).parents[2] / "sql"

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None

#: The area in force, since it was applied; it left ground if an earlier revision's area had more.
_AREAS = """
INSERT INTO segwatch.watch_area (watch_name, since, area_id, narrowed)
SELECT h.name, h.applied_at, w.area_id, EXISTS (
    SELECT 1 FROM segwatch.watch e JOIN segwatch.area g ON g.id = e.area_id
    WHERE e.name = h.name AND e.area_id <> w.area_id AND NOT ST_CoveredBy(g.geom, a.geom))
FROM segwatch.watch_head h
JOIN segwatch.watch w ON w.id = h.watch_id
JOIN segwatch.area a ON a.id = w.area_id
"""


def upgrade() -> None:
    # which ground was seen is worked out when a series is next tracked: the footprints are in the ledger
    op.create_table(
        'seen_ground',
        sa.Column('series_id', sa.UUID(), nullable=False),
        sa.Column('observation_id', sa.UUID(), nullable=False),
        sa.Column('inherited', sa.Boolean(), nullable=False),
        sa.Column('geom', geoalchemy2.Geometry('GEOMETRY', 4326, spatial_index=False), nullable=False),
        sa.ForeignKeyConstraint(
            ['observation_id'], ['segwatch.observation.id'], name=op.f('seen_ground_observation_id_fk')
        ),
        sa.ForeignKeyConstraint(['series_id'], ['segwatch.series.id'], name=op.f('seen_ground_series_id_fk')),
        sa.PrimaryKeyConstraint('series_id', 'observation_id', name=op.f('seen_ground_pk')),
        schema='segwatch',
    )
    op.create_index(
        'seen_ground_geom_ix', 'seen_ground', ['series_id', 'geom'], schema='segwatch', postgresql_using='gist'
    )
    op.create_table(
        'watch_area',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('since', sa.DateTime(timezone=True), nullable=False),
        sa.Column('until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('area_id', sa.UUID(), nullable=False),
        sa.Column('narrowed', sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(['area_id'], ['segwatch.area.id'], name=op.f('watch_area_area_id_fk')),
        sa.PrimaryKeyConstraint('watch_name', 'since', name=op.f('watch_area_pk')),
        schema='segwatch',
    )
    op.execute(_AREAS)
    # the views that leave such ground out are made with the next revision
    script = (SQL / "0012" / "areas.sql").read_text(encoding="utf-8")
    op.execute(sa.text(script.replace(":", "\\:")))


def downgrade() -> None:
    views.drop()
    op.drop_table('watch_area', schema='segwatch')
    op.drop_table('seen_ground', schema='segwatch')
    views.restore(before=revision)
