# mypy: disable-error-code="attr-defined"
"""Reprocessed scenes are observed again: an observation names the versions of the items it answers for."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views
from sqlalchemy.dialects import postgresql

SQL = Path(__file__).parents[2] / "sql"

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

_ITEMS = """
    UPDATE segwatch.observation o
    SET items = coalesce((SELECT array_agg(i.id ORDER BY i.id) FROM segwatch.scene_item i
                          WHERE i.scene_id = o.scene_id AND i.superseded_at IS NULL), '{}')
"""


def upgrade() -> None:
    op.add_column('observation', sa.Column('items', postgresql.ARRAY(sa.UUID()), nullable=True), schema='segwatch')
    op.execute(_ITEMS)
    op.alter_column('observation', 'items', nullable=False, schema='segwatch')
    op.add_column('observation', sa.Column('version', sa.Integer(), server_default='1', nullable=False), schema='segwatch')
    op.add_column('observation', sa.Column('superseded_at', sa.DateTime(timezone=True), nullable=True), schema='segwatch')
    op.drop_constraint('observation_identity', 'observation', schema='segwatch')
    op.create_unique_constraint('observation_identity', 'observation', ['series_id', 'scene_id', 'items'], schema='segwatch')
    op.execute(sa.text((SQL / "0003" / "item_versions.sql").read_text(encoding="utf-8").replace(":", "\\:")))


def downgrade() -> None:
    op.execute("DROP SCHEMA watch CASCADE")
    op.execute("DROP VIEW segwatch.unanswered, segwatch.provenance, segwatch.current_series")
    op.drop_constraint('observation_identity', 'observation', schema='segwatch')
    # stops here where a scene was observed twice: an earlier version would not know which of the two holds
    op.create_unique_constraint('observation_identity', 'observation', ['series_id', 'scene_id'], schema='segwatch')
    for name in ("superseded_at", "version", "items"):
        op.drop_column('observation', name, schema='segwatch')
    views.restore(before=revision)
