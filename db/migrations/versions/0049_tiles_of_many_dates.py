# mypy: disable-error-code="attr-defined"
"""watch.objects_tile shows, with since, every scene of a span: the map steps through the dates without asking again."""

from __future__ import annotations

from segwatch.db.migrations import views

revision = '0049'
down_revision = '0048'
branch_labels = None
depends_on = None


def upgrade() -> None:
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    views.restore(before=revision)
