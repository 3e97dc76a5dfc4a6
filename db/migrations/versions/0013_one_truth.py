# mypy: disable-error-code="attr-defined"
"""One definition of what holds: verdicts applied, bitemporally, in every view."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from segwatch.db.migrations import views

SQL = Path(__file__).parents[2] / "sql"

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None

#: Whoever follows the feeds must see that these alerts do not hold any more; until now a rejection was not told.
_NOTE_REJECTED = """
    INSERT INTO segwatch.alert_correction (alert_id, ordinal, kind, recorded_at)
    SELECT a.id, 1 + coalesce(max(k.ordinal), 0), 'retracted', greatest(v.decided_at, max(k.recorded_at))
    FROM segwatch.alert a
    JOIN segwatch.change c ON c.id = a.change_id
    JOIN segwatch.verdict v ON v.track_id = c.track_id AND v.verdict = 'rejected'
    LEFT JOIN segwatch.alert_correction k ON k.alert_id = a.id
    GROUP BY a.id, v.decided_at
    HAVING coalesce((array_agg(k.kind ORDER BY k.ordinal DESC))[1], '') <> 'retracted'
"""


def upgrade() -> None:
    for part in sorted((SQL / "0013").glob("*.sql")):
        op.execute(sa.text(part.read_text(encoding="utf-8").replace(":", "\\:")))
    op.execute(_NOTE_REJECTED)


def downgrade() -> None:
    views.drop()
    views.restore(before=revision)
