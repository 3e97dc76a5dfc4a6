# mypy: disable-error-code="attr-defined"
"""How far each catalog was searched, a picture of what the model saw, and scenes of any number of items."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

SQL = Path(__file__).parents[2] / "sql"

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'watermark',
        sa.Column('watch_id', sa.UUID(), nullable=False),
        sa.Column('reconciled_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('reconciling_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('updated_to', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(['watch_id'], ['segwatch.watch.id'], name=op.f('watermark_watch_id_fk')),
        sa.PrimaryKeyConstraint('watch_id', name=op.f('watermark_pk')),
        schema='segwatch',
    )
    op.add_column('observation', sa.Column('evidence', sa.Text(), nullable=True), schema='segwatch')
    op.drop_constraint('observation_identity', 'observation', schema='segwatch')
    op.create_index('observation_versions_ix', 'observation', ['series_id', 'scene_id'], schema='segwatch')
    op.execute(sa.text((SQL / "0007" / "evidence.sql").read_text(encoding="utf-8").replace(":", "\\:")))


def downgrade() -> None:
    op.execute("DROP SCHEMA watch CASCADE")
    op.execute(
        "DROP VIEW segwatch.alert_status, segwatch.drawn, segwatch.verdict, segwatch.unanswered, segwatch.provenance,"
        " segwatch.current_series"
    )
    op.drop_column('observation', 'evidence', schema='segwatch')
    op.drop_index('observation_versions_ix', 'observation', schema='segwatch')
    op.create_unique_constraint('observation_identity', 'observation', ['series_id', 'scene_id', 'items'], schema='segwatch')
    op.drop_table('watermark', schema='segwatch')
    views.restore(before=revision)
