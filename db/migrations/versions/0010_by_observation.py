# mypy: disable-error-code="attr-defined"
"""What an observation told, found without reading the whole history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        'track_state_observation_ix', 'track_state', ['observation_id'], schema='segwatch',
        postgresql_where=sa.text('upper_inf(recorded)'),
    )
    op.create_index('track_lineage_observation_ix', 'track_lineage', ['observation_id'], schema='segwatch')
    op.create_index('change_observation_ix', 'change', ['observation_id'], schema='segwatch')


def downgrade() -> None:
    op.drop_index('change_observation_ix', 'change', schema='segwatch')
    op.drop_index('track_lineage_observation_ix', 'track_lineage', schema='segwatch')
    op.drop_index('track_state_observation_ix', 'track_state', schema='segwatch')
