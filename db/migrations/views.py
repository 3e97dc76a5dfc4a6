"""The views of an earlier revision, made again when a later one is taken back."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

_SQL = Path(__file__).parents[1] / "sql"


def drop() -> None:
    """Drop schema ``watch``, and every view and function of schema ``segwatch``, whatever revision they are of."""
    op.execute("DROP SCHEMA watch CASCADE")
    conn = op.get_bind()
    names = "SELECT viewname FROM pg_views WHERE schemaname = 'segwatch' ORDER BY 1"
    for name in conn.execute(sa.text(names)).scalars().all():
        op.execute(f'DROP VIEW IF EXISTS segwatch."{name}" CASCADE')
    functions = (
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'segwatch'::regnamespace ORDER BY 1"
    )
    for signature in conn.execute(sa.text(functions)).scalars().all():
        op.execute(f"DROP FUNCTION {signature}")


def restore(*, before: str) -> None:
    """Make every view and comment of the revisions before this one, in order; they must have been dropped."""
    # the first views were made over a column that the second migration dropped once it had replaced them
    op.add_column(
        "observation", sa.Column("tracked", sa.Boolean(), server_default=sa.text("true")), schema="segwatch"
    )
    for part in sorted(_SQL.glob("*/*.sql")):
        if part.parent.name < before:
            op.execute(sa.text(part.read_text(encoding="utf-8").replace(":", "\\:")))
    op.drop_column("observation", "tracked", schema="segwatch")
