# mypy: disable-error-code="attr-defined"
"""Alerts are followed up when their change is no longer confirmed; refuted changes are no last change of an object."""

from __future__ import annotations

from alembic import op

from segwatch.db.migrations import views

revision = '0032'
down_revision = '0031'
branch_labels = None
depends_on = None

_KIND = 'alert_correction_kind'


def upgrade() -> None:
    op.drop_constraint(_KIND, 'alert_correction', schema='segwatch')
    op.create_check_constraint(
        _KIND,
        'alert_correction',
        "kind IN ('retracted', 'reinstated', 'updated', 'provisional', 'confirmed', 'refuted')",
        schema='segwatch',
    )
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    # earlier versions do not say that a change is provisional again
    op.execute("DELETE FROM segwatch.alert_correction WHERE kind = 'provisional'")
    op.drop_constraint(_KIND, 'alert_correction', schema='segwatch')
    op.create_check_constraint(
        _KIND,
        'alert_correction',
        "kind IN ('retracted', 'reinstated', 'updated', 'confirmed', 'refuted')",
        schema='segwatch',
    )
    views.restore(before=revision)
