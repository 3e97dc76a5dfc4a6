# mypy: disable-error-code="attr-defined"
"""Alerts about provisional changes are followed up: confirmed or refuted.

Alerts from before keep no status of their change, as nobody judged it; nothing follows them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

revision = '0028'
down_revision = '0027'
branch_labels = None
depends_on = None

_KIND = 'alert_correction_kind'


def upgrade() -> None:
    op.add_column('alert', sa.Column('raised_as', sa.Text()), schema='segwatch')
    op.create_check_constraint(
        'alert_raised_as', 'alert', "raised_as IN ('provisional', 'confirmed')", schema='segwatch'
    )
    op.drop_constraint(_KIND, 'alert_correction', schema='segwatch')
    op.create_check_constraint(
        _KIND,
        'alert_correction',
        "kind IN ('retracted', 'reinstated', 'updated', 'confirmed', 'refuted')",
        schema='segwatch',
    )
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    # earlier versions know no follow-ups
    op.execute("DELETE FROM segwatch.alert_correction WHERE kind IN ('confirmed', 'refuted')")
    op.drop_constraint(_KIND, 'alert_correction', schema='segwatch')
    op.create_check_constraint(
        _KIND, 'alert_correction', "kind IN ('retracted', 'reinstated', 'updated')", schema='segwatch'
    )
    op.drop_column('alert', 'raised_as', schema='segwatch')
    views.restore(before=revision)
