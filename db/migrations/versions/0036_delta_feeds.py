# mypy: disable-error-code="attr-defined"
"""What became known after a recorded time, in order of commit: delta feeds of exports resume there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

revision = '0036'
down_revision = '0033'
branch_labels = None
depends_on = None

#: Table, name, expression and condition of each index.
_INDEXES = (
    ('track_state', 'track_state_learned_ix', 'lower(recorded)', 'upper_inf(valid)'),
    ('track_state', 'track_state_closed_ix', 'upper(recorded)', 'upper_inf(valid) AND NOT upper_inf(recorded)'),
    ('change', 'change_altered_ix', 'altered_at', None),
    ('change_judgement', 'change_judgement_made_ix', 'lower(recorded)', None),
    ('change_judgement', 'change_judgement_closed_ix', 'upper(recorded)', 'NOT upper_inf(recorded)'),
)


def upgrade() -> None:
    op.add_column('series', sa.Column('recorded_to', sa.DateTime(timezone=True)), schema='segwatch')
    op.execute(
        """
        UPDATE segwatch.series s
        SET recorded_to = greatest(
            (SELECT max(greatest(o.committed_at, o.superseded_at)) FROM segwatch.observation o WHERE o.series_id = s.id),
            (SELECT max(r.decided_at) FROM segwatch.review r JOIN segwatch.track k ON k.id = r.track_id
             WHERE k.series_id = s.id))
        """
    )
    # no feed has begun yet, so that what is stored counts as altered before all of them
    op.execute(
        "ALTER TABLE segwatch.change ADD COLUMN altered_at timestamptz NOT NULL DEFAULT '-infinity',"
        ' ALTER COLUMN altered_at SET DEFAULT clock_timestamp()'
    )
    for table, name, expression, condition in _INDEXES:
        where = '' if condition is None else f' WHERE {condition}'
        op.execute(f'CREATE INDEX {name} ON segwatch.{table} ({expression}){where}')


def downgrade() -> None:
    views.drop()
    for _, name, _, _ in reversed(_INDEXES):
        op.execute(f'DROP INDEX segwatch.{name}')
    op.drop_column('change', 'altered_at', schema='segwatch')
    op.drop_column('series', 'recorded_to', schema='segwatch')
    views.restore(before=revision)
