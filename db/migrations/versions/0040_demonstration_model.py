# mypy: disable-error-code="attr-defined"
"""The words about accuracy say where the model that ships with segwatch was used; objects of a past time carry them too."""

from __future__ import annotations

from segwatch.db.migrations import views

revision = '0040'
down_revision = '0039'
branch_labels = None
depends_on = None


def upgrade() -> None:
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    views.restore(before=revision)
