# mypy: disable-error-code="attr-defined"
"""Late scenes are tracked: lineage can be retracted, alerts corrected, and what was left out is tracked now."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

SQL = Path(__file__).parents[2] / "sql"

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('track_lineage', sa.Column('retracted_at', sa.DateTime(timezone=True), nullable=True), schema='segwatch')
    op.add_column('delivery', sa.Column('ordinal', sa.Integer(), server_default='0', nullable=False), schema='segwatch')
    op.drop_constraint('delivery_identity', 'delivery', schema='segwatch')
    op.create_unique_constraint('delivery_identity', 'delivery', ['alert_id', 'channel', 'ordinal'], schema='segwatch')
    # published without being tracked: the next run tracks them in their place
    op.execute("UPDATE segwatch.observation SET state = 'inferred', committed_at = NULL WHERE state = 'observed' AND NOT tracked")
    op.execute(sa.text((SQL / "0002" / "late_scenes.sql").read_text(encoding="utf-8").replace(":", "\\:")))
    op.drop_column('observation', 'tracked', schema='segwatch')


def downgrade() -> None:
    op.add_column('observation', sa.Column('tracked', sa.Boolean(), server_default=sa.text('false'), nullable=False), schema='segwatch')
    op.execute("UPDATE segwatch.observation SET tracked = true WHERE state = 'observed'")
    op.execute("DROP SCHEMA watch CASCADE")
    op.execute("DROP VIEW segwatch.provenance, segwatch.current_series")
    op.execute("DELETE FROM segwatch.delivery WHERE ordinal > 0")
    op.drop_constraint('delivery_identity', 'delivery', schema='segwatch')
    op.drop_column('delivery', 'ordinal', schema='segwatch')
    op.create_unique_constraint('delivery_identity', 'delivery', ['alert_id', 'channel'], schema='segwatch')
    op.drop_column('track_lineage', 'retracted_at', schema='segwatch')
    for name in ("analyst_views.sql", "comments.sql", "grants.sql"):
        op.execute(sa.text((SQL / "0001" / name).read_text(encoding="utf-8").replace(":", "\\:")))
