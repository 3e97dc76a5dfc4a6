"""Page of the analyst's views and functions, from the comments in a migrated database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, text

from docs.generate.markdown import NOTICE, ROOT, code, table
from segwatch.db.analyst.keys import VIEW_KEYS

_INTRODUCTION = """# Views and functions

The schema `watch` is what analysts read, with the role `segwatch_analyst`. Names and columns are stable: they change
only with a note in the changelog. Queries to start from are in [the cookbook](../how-to/cookbook.md).

`track_id` stays the same within a series. A new model or instruction begins a new series, in which the object gets
another `track_id`; across series use `object_id`.

"""
_VIEWS = text(
    """
    SELECT c.oid, c.relname AS name, obj_description(c.oid, 'pg_class') AS comment
    FROM pg_class c WHERE c.relnamespace = 'watch'::regnamespace AND c.relkind IN ('v', 'm') ORDER BY c.relname
    """
)
_COLUMNS = text(
    """
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) AS comment
    FROM pg_attribute WHERE attrelid = :view AND attnum > 0 AND NOT attisdropped ORDER BY attnum
    """
)
_FUNCTIONS = text(
    """
    SELECT proname AS name, pg_get_function_arguments(p.oid) AS arguments,
           obj_description(p.oid, 'pg_proc') AS comment
    FROM pg_proc p
    WHERE pronamespace = 'watch'::regnamespace
      AND has_function_privilege('segwatch_analyst', p.oid, 'EXECUTE')
    ORDER BY proname
    """
)
_SQL = ROOT / "db" / "sql"


def page(conn: Connection) -> str:
    """Return the page, from a database whose schema is up to date."""
    return NOTICE + _INTRODUCTION + "\n".join(_views(conn)) + "\n" + _functions(conn)


def _views(conn: Connection) -> Iterator[str]:
    for view in conn.execute(_VIEWS):
        rows = [
            (code(one.name), one.type, one.comment or "")
            for one in conn.execute(_COLUMNS, {"view": view.oid})
        ]
        words = f"{view.comment}\n\n{_key(view.name)}\n\n" if view.comment else ""
        yield f"## watch.{view.name}\n\n{words}{_defined(view.name)}\n\n" + table(
            ("column", "type", "meaning"), rows
        )


def _key(name: str) -> str:
    key = VIEW_KEYS[name]
    time = f", in time from {code(key.begin)} to before {code(key.end)}" if key.begin and key.end else ""
    return f"Key: {code(key.column)}{time}."


def _functions(conn: Connection) -> str:
    rows = [
        (code(f"watch.{one.name}({one.arguments})"), one.comment or "", code(_file(one.name)))
        for one in conn.execute(_FUNCTIONS)
    ]
    return "## Functions\n\n" + table(("function", "what", "file"), rows)


def _defined(name: str) -> str:
    file = _file(name)
    return f"Defined in `{file}`." if file else ""


def _file(name: str) -> str:
    """Return the newest file under db/sql that creates a view or function of schema watch."""
    creates = re.compile(rf"CREATE\s+(?:OR REPLACE\s+)?(?:VIEW|FUNCTION)\s+watch\.{name}\b", re.IGNORECASE)
    current = _SQL / "current"
    folders = [current] if current.is_dir() else sorted(_SQL.iterdir(), reverse=True)
    for folder in folders:
        for file in sorted(folder.rglob("*.sql"), reverse=True):
            if creates.search(file.read_text(encoding="utf-8")):
                return Path(file).relative_to(ROOT).as_posix()
    return ""
