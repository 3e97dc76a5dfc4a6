# mypy: disable-error-code="attr-defined"
"""Analysts confirm, reject and edit objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views
from geoalchemy2 import Geometry

SQL = Path(__file__).parents[2] / "sql"

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def _geometry(name: str, *, nullable: bool) -> sa.Column[Any]:
    return sa.Column(name, Geometry(srid=4326, dimension=2, spatial_index=False), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        'review',
        sa.Column('id', sa.UUID(), nullable=False),
        sa.Column('track_id', sa.UUID(), nullable=False),
        sa.Column('ordinal', sa.Integer(), nullable=False),
        sa.Column('verdict', sa.Text(), nullable=False),
        sa.Column('reviewer', sa.Text(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('decided_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        _geometry('geom', nullable=True),
        sa.Column('area_m2', sa.Double(), nullable=True),
        _geometry('outline', nullable=False),
        sa.Column('looked_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('carried_from', sa.UUID(), nullable=True),
        sa.CheckConstraint("verdict IN ('confirmed', 'rejected', 'edited')", name='review_verdict'),
        sa.CheckConstraint("(verdict = 'edited') = (geom IS NOT NULL)", name='review_edit_has_outline'),
        sa.ForeignKeyConstraint(['track_id'], ['segwatch.track.id'], name=op.f('review_track_id_fk')),
        sa.ForeignKeyConstraint(['carried_from'], ['segwatch.review.id'], name=op.f('review_carried_from_fk')),
        sa.PrimaryKeyConstraint('id', name=op.f('review_pk')),
        sa.UniqueConstraint('track_id', 'ordinal', name='review_identity'),
        schema='segwatch',
    )
    op.create_index('review_outline_ix', 'review', ['outline'], schema='segwatch', postgresql_using='gist')
    op.create_index('review_geom_ix', 'review', ['geom'], schema='segwatch', postgresql_using='gist')
    op.execute(sa.text((SQL / "0004" / "reviews.sql").read_text(encoding="utf-8").replace(":", "\\:")))


def downgrade() -> None:
    op.execute("DROP SCHEMA watch CASCADE")
    op.execute("DROP VIEW segwatch.drawn, segwatch.verdict, segwatch.unanswered, segwatch.provenance, segwatch.current_series")
    op.drop_table('review', schema='segwatch')
    for table in ("watch", "watch_head", "instruction", "series", "area"):
        op.execute(f"ALTER TABLE segwatch.{table} RESET (autovacuum_analyze_threshold, autovacuum_analyze_scale_factor)")
    views.restore(before=revision)
