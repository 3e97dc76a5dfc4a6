# mypy: disable-error-code="attr-defined"
"""Pages cost what they hold: the objects of a time are read in order of the ids of their tracks."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Connection

from segwatch.db.migrations import indexes, views

revision = '0048'
down_revision = '0047'
branch_labels = None
depends_on = None


def build_indexes(conn: Connection) -> None:
    """Build the index on the table of tracks beforehand, CONCURRENTLY."""
    indexes.build(conn, 'track_page_ix', 'segwatch.track (series_id, id)')


def upgrade() -> None:
    op.drop_index('track_series_ix', table_name='track', schema='segwatch')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.create_index('track_series_ix', 'track', ['series_id'], schema='segwatch')
    op.drop_index('track_page_ix', table_name='track', schema='segwatch')
    views.restore(before=revision)
