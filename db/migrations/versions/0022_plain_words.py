# mypy: disable-error-code="attr-defined"
"""Columns that hold the id of a watch revision say so; views and functions describe themselves in plain words."""

from __future__ import annotations

from alembic import op

from segwatch.db.migrations import views

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None

_TABLES = ('alert', 'observation', 'rejected_item', 'watch_head', 'watermark')


def _rename(old: str, new: str) -> None:
    for table in _TABLES:
        op.alter_column(table, old, new_column_name=new, schema='segwatch')
        op.execute(f'ALTER TABLE segwatch.{table} RENAME CONSTRAINT {table}_{old}_fk TO {table}_{new}_fk')


def upgrade() -> None:
    _rename('watch_id', 'revision_id')
    op.execute('ALTER VIEW segwatch.rejection RENAME COLUMN watch_id TO revision_id')
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    _rename('revision_id', 'watch_id')
    views.restore(before=revision)
