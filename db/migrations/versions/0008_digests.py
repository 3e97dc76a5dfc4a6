# mypy: disable-error-code="attr-defined"
"""Alerts that come together in a digest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

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


def downgrade() -> None:
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
