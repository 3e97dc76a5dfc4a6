# mypy: disable-error-code="attr-defined"
"""Chips of observations, by which scenes are registered to each other.

Observations from before have none: the shift of later ones is measured on outlines until new ones were observed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0025'
down_revision = '0024'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'observation_chip',
        sa.Column('observation_id', postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column('crs', sa.Text(), nullable=False),
        sa.Column('pixel_m', sa.Double(), nullable=False),
        sa.Column('grid_row', sa.Integer(), nullable=False),
        sa.Column('grid_col', sa.Integer(), nullable=False),
        sa.Column('content', sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ['observation_id'], ['segwatch.observation.id'], name='observation_chip_observation_id_fk'
        ),
        sa.PrimaryKeyConstraint(
            'observation_id', 'crs', 'pixel_m', 'grid_row', 'grid_col', name='observation_chip_pk'
        ),
        schema='segwatch',
    )
    op.execute('GRANT SELECT, INSERT ON segwatch.observation_chip TO segwatch_worker')


def downgrade() -> None:
    op.drop_table('observation_chip', schema='segwatch')
