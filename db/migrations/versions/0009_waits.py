# mypy: disable-error-code="attr-defined"
"""When an observation that failed may be tried again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        'observation', sa.Column('not_before', sa.DateTime(timezone=True), nullable=True), schema='segwatch'
    )


def downgrade() -> None:
    op.drop_column('observation', 'not_before', schema='segwatch')
