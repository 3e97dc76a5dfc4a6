# mypy: disable-error-code="attr-defined"
"""watch.coverage counts detections only where they are asked for: its cost no longer follows all of them."""

from __future__ import annotations

from segwatch.db.migrations import views

revision = '0042'
down_revision = '0041'
branch_labels = None
depends_on = None


def upgrade() -> None:
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    views.restore(before=revision)
