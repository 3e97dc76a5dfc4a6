# mypy: disable-error-code="attr-defined"
"""What attempts cost and how old scenes are at their alerts, summed as they come; the questions of monitoring.

Observations and alerts of before are summed, too; of failed attempts only the last one of each scene is known.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

revision = '0043'
down_revision = '0042'
branch_labels = None
depends_on = None

_LIMITS = '300, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800'


def upgrade() -> None:
    op.create_table(
        'usage',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('month', sa.Date(), nullable=False),
        sa.Column('model_version', sa.Text(), nullable=False),
        sa.Column('outcome', sa.Text(), nullable=False),
        sa.Column('attempts', sa.BigInteger(), nullable=False),
        sa.Column('compute_seconds', sa.Double(), nullable=False),
        sa.Column('bytes_read', sa.Double(), nullable=False),
        sa.Column('area_km2', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('watch_name', 'month', 'model_version', 'outcome', name='usage_pk'),
        schema='segwatch',
    )
    op.create_table(
        'alert_age',
        sa.Column('watch_name', sa.Text(), nullable=False),
        sa.Column('up_to_seconds', sa.Double(), nullable=False),
        sa.Column('alerts', sa.BigInteger(), nullable=False),
        sa.Column('seconds', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('watch_name', 'up_to_seconds', name='alert_age_pk'),
        schema='segwatch',
    )
    for name in ('usage', 'alert_age'):
        op.execute(f'GRANT SELECT, INSERT, UPDATE ON segwatch.{name} TO segwatch_worker')
    op.execute(
        """
        INSERT INTO segwatch.usage (watch_name, month, model_version, outcome, attempts, compute_seconds, bytes_read,
                                    area_km2)
        SELECT s.watch_name, date_trunc('month', x.at AT TIME ZONE 'UTC')::date, o.model_version, x.outcome, count(*),
               coalesce(sum(o.compute_seconds), 0), coalesce(sum(o.bytes_read), 0), coalesce(sum(o.area_km2), 0)
        FROM segwatch.observation o JOIN segwatch.series s ON s.id = o.series_id
        CROSS JOIN LATERAL (
            SELECT coalesce(o.inferred_at, o.committed_at, o.leased_at, o.discovered_at) AS at,
                   CASE WHEN o.footprint IS NOT NULL THEN 'observed' WHEN o.state = 'skipped' THEN 'unusable'
                        ELSE 'scene' END AS outcome) x
        WHERE o.leased_at IS NOT NULL AND (o.footprint IS NOT NULL OR o.state IN ('skipped', 'failed'))
        GROUP BY 1, 2, 3, 4
        """
    )
    op.execute(
        f"""
        INSERT INTO segwatch.alert_age (watch_name, up_to_seconds, alerts, seconds)
        SELECT x.name, coalesce((SELECT min(l) FROM unnest(ARRAY[{_LIMITS}]::float8[]) l WHERE l >= x.age), 'Infinity'),
               count(*), sum(x.age)
        FROM (SELECT w.name, greatest(extract(epoch FROM a.created_at - o.acquired_at)::float8, 0) AS age
              FROM segwatch.alert a JOIN segwatch.change c ON c.id = a.change_id
              JOIN segwatch.observation o ON o.id = c.observation_id
              JOIN segwatch.watch w ON w.id = a.revision_id) x
        GROUP BY 1, 2
        """  # noqa: S608 - limits of this file
    )
    views.apply(revision)


def downgrade() -> None:
    views.drop()
    op.drop_table('alert_age', schema='segwatch')
    op.drop_table('usage', schema='segwatch')
    views.restore(before=revision)
