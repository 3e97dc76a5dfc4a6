"""Views and functions for migrations, from frozen SQL: an unchanging folder of ``db/sql`` for each revision."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

_SQL = Path(__file__).parents[1] / "sql"
#: This revision has every view and function; what came before is not needed to make them.
_COMPLETE = "0022"
#: What a revision makes with other columns in between or other parameters, which CREATE OR REPLACE cannot do.
_DROPPED = {
    "0037": (
        "DROP VIEW IF EXISTS watch.object_history",
        "DROP FUNCTION IF EXISTS watch.objects_as_of(timestamptz, timestamptz)",
    ),
    "0040": ("DROP FUNCTION IF EXISTS watch.objects_as_of(timestamptz, timestamptz, geometry)",),
    "0041": ("DROP FUNCTION IF EXISTS watch.objects_tile(text, timestamptz, int, int, int, int)",),
    "0045": ("DROP FUNCTION IF EXISTS watch.operations()",),
    "0048": ("DROP FUNCTION IF EXISTS watch.objects_as_of(timestamptz, timestamptz, geometry)",),
    "0049": (
        "DROP FUNCTION IF EXISTS watch.objects_tile(text, timestamptz, int, int, int, int, timestamptz)",
        "DROP FUNCTION IF EXISTS segwatch.encode_unseen(uuid[], timestamptz, timestamptz, geometry, geometry, float8)",
    ),
}


def apply(revision: str) -> None:
    """Run the SQL files that were frozen for a revision, in order of their names."""
    for statement in _DROPPED.get(revision, ()):
        op.execute(statement)
    for part in sorted((_SQL / revision).glob("*.sql")):
        op.execute(sa.text(part.read_text(encoding="utf-8").replace(":", "\\:")))


def drop() -> None:
    """Drop schema ``watch``, and every view, function and trigger of schema ``segwatch``, of any revision."""
    op.execute("DROP SCHEMA watch CASCADE")
    conn = op.get_bind()
    names = "SELECT viewname FROM pg_views WHERE schemaname = 'segwatch' ORDER BY 1"
    for name in conn.execute(sa.text(names)).scalars().all():
        op.execute(f'DROP VIEW IF EXISTS segwatch."{name}" CASCADE')
    functions = (
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'segwatch'::regnamespace ORDER BY 1"
    )
    for signature in conn.execute(sa.text(functions)).scalars().all():
        op.execute(f"DROP FUNCTION {signature} CASCADE")


def restore(*, before: str) -> None:
    """Make the views and functions as they were before a revision; they must have been dropped."""
    revisions = sorted(path.name for path in _SQL.glob("[0-9]*") if path.name < before)
    if before > _COMPLETE:
        for revision in revisions:
            if revision >= _COMPLETE:
                _drop_replaced_functions(revision)
                apply(revision)
        return
    # the first views need a column that the second migration dropped once it had replaced them
    op.add_column(
        "observation", sa.Column("tracked", sa.Boolean(), server_default=sa.text("true")), schema="segwatch"
    )
    for revision in revisions:
        apply(revision)
    op.drop_column("observation", "tracked", schema="segwatch")


def _drop_replaced_functions(revision: str) -> None:
    """Drop the functions of schema ``watch`` that a revision makes anew: CREATE OR REPLACE refuses other columns."""
    conn = op.get_bind()
    query = sa.text(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = to_regnamespace('watch') AND proname = :name"
    )
    for part in sorted((_SQL / revision).glob("*_watch.*.sql")):
        name = part.stem.rpartition(".")[2]
        for signature in conn.execute(query, {"name": name}).scalars().all():
            op.execute(f"DROP FUNCTION {signature}")
