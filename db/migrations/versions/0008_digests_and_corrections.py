# mypy: disable-error-code="attr-defined"
"""Alerts that come together in a digest, and every correction of an alert."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

SQL = Path(__file__).parents[2] / "sql"

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

_STATES = "state IN ('pending', 'delivered', 'dead'"


def upgrade() -> None:
    op.add_column(
        'delivery', sa.Column('digest_at', sa.DateTime(timezone=True), nullable=True), schema='segwatch'
    )
    op.add_column('delivery', sa.Column('digest_id', sa.UUID(), nullable=True), schema='segwatch')
    op.create_foreign_key(
        'delivery_digest_id_fk', 'delivery', 'delivery', ['digest_id'], ['id'],
        source_schema='segwatch', referent_schema='segwatch',
    )
    for name in ("alert_id", "track_id"):
        op.alter_column('delivery', name, nullable=True, schema='segwatch')
    op.drop_constraint('delivery_state', 'delivery', schema='segwatch')
    op.create_check_constraint('delivery_state', 'delivery', f"{_STATES}, 'withdrawn')", schema='segwatch')
    op.create_check_constraint(
        'delivery_subject', 'delivery', "(alert_id IS NULL) = (track_id IS NULL)", schema='segwatch'
    )
    op.create_check_constraint(
        'delivery_digest', 'delivery',
        "CASE WHEN alert_id IS NULL THEN digest_at IS NULL AND digest_id IS NULL"
        " ELSE digest_id IS NULL OR digest_at IS NOT NULL END",
        schema='segwatch',
    )
    op.create_index(
        'delivery_digest_due_ix', 'delivery', ['digest_at'], schema='segwatch',
        postgresql_where=sa.text("state = 'pending' AND digest_id IS NULL"),
    )
    op.create_index(
        'delivery_digest_ix', 'delivery', ['digest_id'], schema='segwatch',
        postgresql_where=sa.text('digest_id IS NOT NULL'),
    )
    op.create_table(
        'alert_correction',
        sa.Column('alert_id', sa.UUID(), nullable=False),
        sa.Column('ordinal', sa.Integer(), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('recorded_at', sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('retracted', 'reinstated', 'updated')", name='alert_correction_kind'),
        sa.ForeignKeyConstraint(['alert_id'], ['segwatch.alert.id'], name=op.f('alert_correction_alert_id_fk')),
        sa.PrimaryKeyConstraint('alert_id', 'ordinal', name=op.f('alert_correction_pk')),
        schema='segwatch',
    )
    # of what was retracted and reinstated before this, only what holds now is known
    op.execute(
        "INSERT INTO segwatch.alert_correction (alert_id, ordinal, kind, recorded_at)"
        " SELECT a.id, 1, 'retracted', c.retracted_at"
        " FROM segwatch.alert a JOIN segwatch.change c ON c.id = a.change_id WHERE c.retracted_at IS NOT NULL"
    )
    op.execute(sa.text((SQL / "0008" / "corrections.sql").read_text(encoding="utf-8").replace(":", "\\:")))


def downgrade() -> None:
    op.execute("DROP SCHEMA watch CASCADE")
    op.execute(
        "DROP VIEW segwatch.alert_status, segwatch.drawn, segwatch.verdict, segwatch.unanswered, segwatch.provenance,"
        " segwatch.current_series"
    )
    op.drop_table('alert_correction', schema='segwatch')
    for name in ("delivery_digest_ix", "delivery_digest_due_ix"):
        op.drop_index(name, 'delivery', schema='segwatch')
    for name in ("delivery_digest", "delivery_subject", "delivery_state"):
        op.drop_constraint(name, 'delivery', schema='segwatch')
    for name in ("digest_id", "digest_at"):
        op.drop_column('delivery', name, schema='segwatch')
    # what waited for a digest is sent by itself
    op.execute("DELETE FROM segwatch.delivery WHERE alert_id IS NULL")
    op.execute("UPDATE segwatch.delivery SET state = 'dead' WHERE state = 'withdrawn'")
    op.create_check_constraint('delivery_state', 'delivery', f"{_STATES})", schema='segwatch')
    for name in ("alert_id", "track_id"):
        op.alter_column('delivery', name, nullable=False, schema='segwatch')
    views.restore(before=revision)
