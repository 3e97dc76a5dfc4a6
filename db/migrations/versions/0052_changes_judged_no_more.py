# mypy: disable-error-code="attr-defined"
"""watch.why_not says which provisional changes no observation confirms or refutes any more, and why."""

from __future__ import annotations

from segwatch.db.migrations import views

revision = '0052'
down_revision = '0050'
branch_labels = None
depends_on = None


def upgrade() -> None:
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    views.restore(before=revision)
