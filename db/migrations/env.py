# mypy: disable-error-code="no-untyped-call"
"""Alembic's entry: runs the migrations on the connection that :mod:`segwatch.db.migrate` hands over."""

from __future__ import annotations

from alembic import context
from geoalchemy2 import alembic_helpers

from segwatch.db.tables import SCHEMA, metadata


def _ours(obj: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    if kind == "table" and getattr(obj, "schema", None) != SCHEMA:
        return False
    return (
        bool(alembic_helpers.include_object(obj, name, kind, reflected, compare_to))
        and name != "alembic_version"
    )


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_object=_ours,
    render_item=alembic_helpers.render_item,
    process_revision_directives=alembic_helpers.writer,
)
with context.begin_transaction():
    context.run_migrations()
