# mypy: disable-error-code="attr-defined"
"""A new model or instruction takes over the objects of the one before."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

SQL = Path(__file__).parents[2] / "sql"

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('series', sa.Column('seeded_from', sa.UUID(), nullable=True), schema='segwatch')
    op.add_column('series', sa.Column('seed_valid_at', sa.DateTime(timezone=True), nullable=True), schema='segwatch')
    op.add_column('series', sa.Column('seed_known_at', sa.DateTime(timezone=True), nullable=True), schema='segwatch')
    op.create_foreign_key(
        'series_seeded_from_fk', 'series', 'series', ['seeded_from'], ['id'],
        source_schema='segwatch', referent_schema='segwatch',
    )
    op.add_column('track', sa.Column('object_id', sa.UUID(), nullable=True), schema='segwatch')
    op.execute("UPDATE segwatch.track SET object_id = id")
    op.alter_column('track', 'object_id', nullable=False, schema='segwatch')
    op.create_index('track_object_ix', 'track', ['object_id'], schema='segwatch')
    op.execute(sa.text((SQL / "0005" / "upgrades.sql").read_text(encoding="utf-8").replace(":", "\\:")))


def downgrade() -> None:
    op.execute("DROP SCHEMA watch CASCADE")
    op.execute("DROP VIEW segwatch.drawn, segwatch.verdict, segwatch.unanswered, segwatch.provenance, segwatch.current_series")
    op.drop_index('track_object_ix', 'track', schema='segwatch')
    op.drop_column('track', 'object_id', schema='segwatch')
    op.drop_constraint('series_seeded_from_fk', 'series', schema='segwatch')
    for name in ("seeded_from", "seed_valid_at", "seed_known_at"):
        op.drop_column('series', name, schema='segwatch')
    views.restore(before=revision)
