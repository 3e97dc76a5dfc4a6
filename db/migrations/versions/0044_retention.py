# mypy: disable-error-code="attr-defined"
"""What retention takes away, and from which version of the code on the schema can be used."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Connection

from segwatch.db.migrations import indexes, views

revision = '0044'
down_revision = '0043'
branch_labels = None
depends_on = None


def build_indexes(conn: Connection) -> None:
    """Build the index on the table of messages beforehand, CONCURRENTLY."""
    indexes.build(
        conn,
        'delivery_sent_ix',
        "segwatch.delivery (delivered_at) WHERE state = 'delivered' AND payload <> '{}'",
    )


def upgrade() -> None:
    op.execute('GRANT DELETE ON segwatch.observation_chip, segwatch.index_cells TO segwatch_worker')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.execute('REVOKE DELETE ON segwatch.observation_chip, segwatch.index_cells FROM segwatch_worker')
    op.drop_index('delivery_sent_ix', table_name='delivery', schema='segwatch')
    views.restore(before=revision)
