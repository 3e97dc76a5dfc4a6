"""SQL is written in ``db`` alone: no statement, and nothing that makes one of text, stands in another package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

#: How statements begin. Clauses that tipg's own query builder takes are no statements.
STATEMENT = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|ALTER|DROP|GRANT|REVOKE|SET|TRUNCATE|COPY|TABLE|LISTEN"
    r"|NOTIFY|CALL|LOCK)\s"
)
MAKERS = {"sqlalchemy": {"text", "literal_column"}, "psycopg": {"sql"}, "psycopg.sql": {"SQL", "Composed"}}


def find_sql(source: str) -> Iterator[tuple[int, str]]:
    """Find the statements of a Python file, and what it imports to make them, by line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            for name in {one.name for one in node.names} & MAKERS.get(node.module or "", set()):
                yield node.lineno, f"from {node.module} import {name}"
        elif isinstance(node, ast.Attribute) and node.attr == "exec_driver_sql":
            yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
            yield node.lineno, node.value.strip()[:60]


def test_no_sql_outside_db() -> None:
    files = [
        path
        for package in ("client", "flows", "geo", "model")
        for path in sorted((ROOT / package).rglob("*.py"))
    ]
    found = [
        f"{Path(path).relative_to(ROOT)}:{line}: {what}"
        for path in files
        for line, what in find_sql(path.read_text(encoding="utf-8"))
    ]
    assert found == [], (
        "put queries on the analyst views into db/analyst, others into the module of their table"
    )


def test_statements_are_recognised() -> None:
    source = '''
from sqlalchemy import Connection, text
from psycopg import sql
a = """
    SELECT 1
"""
b = f"UPDATE {table} SET x = 1"
conn.exec_driver_sql(a)
c = "Select a scene", "SELECTED", "WITHOUT"
'''
    assert {what for _, what in find_sql(source)} == {
        "from sqlalchemy import text",
        "from psycopg import sql",
        "SELECT 1",
        "UPDATE",
        "SET x = 1",
        "exec_driver_sql",
    }
