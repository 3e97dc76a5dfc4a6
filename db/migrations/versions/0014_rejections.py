# mypy: disable-error-code="attr-defined"
"""Rejected items are part of what was covered, with their time and place; watches tell what they do not report."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry

from segwatch.db.migrations import views

SQL = Path(__file__).parents[2] / "sql"

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('rejected_item', sa.Column('acquired_at', sa.DateTime(timezone=True), nullable=True), schema='segwatch')
    footprint = Geometry(geometry_type='GEOMETRY', srid=4326, spatial_index=False)
    op.add_column('rejected_item', sa.Column('footprint', footprint, nullable=True), schema='segwatch')
    op.create_index('rejected_item_item_ix', 'rejected_item', ['item_id'], schema='segwatch')
    op.create_index('scene_item_item_ix', 'scene_item', ['item_id'], schema='segwatch')
    for part in sorted((SQL / "0014").glob("*.sql")):  # numbered: they need one another
        op.execute(sa.text(part.read_text(encoding="utf-8").replace(":", "\\:")))


def downgrade() -> None:
    views.drop()
    op.drop_index('scene_item_item_ix', 'scene_item', schema='segwatch')
    op.drop_index('rejected_item_item_ix', 'rejected_item', schema='segwatch')
    for name in ("footprint", "acquired_at"):
        op.drop_column('rejected_item', name, schema='segwatch')
    views.restore(before=revision)
