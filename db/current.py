"""The schema as it is now, as SQL files: ``db/sql/current``, in the order of its ``order.txt``.

    python -m segwatch.db.current                print the whole schema as one script
    python -m segwatch.db.current --write        write tables/*.sql anew from segwatch.db.tables
    python -m segwatch.db.current --freeze 0023  copy what changed since the last migration to db/sql/0023

Migrations run frozen copies, never these files: see docs/adr/0015-the-schema-in-one-place.md.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from segwatch.db.tables import metadata

FOLDER = Path(__file__).parent / "sql" / "current"
#: Modules of :mod:`segwatch.db.tables`; each refers to tables of itself and of those before it.
_TABLES = (
    "watches",
    "imagery",
    "results",
    "summaries",
    "second_opinion",
    "alerts",
    "events",
    "operations",
    "assessments",
    "models",
)


def list_files() -> list[Path]:
    """List the files of the schema, each after those that it needs."""
    names = (FOLDER / "order.txt").read_text(encoding="utf-8").split()
    return [FOLDER / name for name in names]


def build_script() -> str:
    """Build the script that makes the whole schema in a database with the extensions and roles."""
    return "\n".join(path.read_text(encoding="utf-8") for path in list_files())


def render_tables() -> dict[Path, str]:
    """Render the tables and indexes of :mod:`segwatch.db.tables` as SQL, by file."""
    return {FOLDER / "tables" / f"{name}.sql": _render_module(name) for name in _TABLES}


def _render_module(name: str) -> str:
    module = import_module(f"segwatch.db.tables.{name}")
    ours = [one for one in vars(module).values() if isinstance(one, Table)]
    tables = [table for table in metadata.sorted_tables if table in ours]
    return "\n\n".join(statement for table in tables for statement in _render(table)) + "\n"


def _render(table: Table) -> Iterator[str]:
    indexes = sorted(table.indexes, key=lambda one: str(one.name))
    parts: list[DDLElement] = [CreateTable(table), *map(CreateIndex, indexes)]
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for part in parts:
        lines = str(part.compile(dialect=dialect)).strip().replace("\t", "    ").splitlines()
        yield "\n".join(line.rstrip() for line in lines if line.strip()) + ";"


def list_unfrozen() -> list[Path]:
    """List the files of schemas, views and functions that no migration has as they are now."""
    files = [path for path in list_files() if path.parent.name != "tables"]
    return [path for path in files if _last_frozen(path) != path.read_bytes()]


def _last_frozen(path: Path) -> bytes | None:
    copies = sorted(FOLDER.parent.glob(f"[0-9]*/[0-9][0-9]_{_name(path)}"))
    return copies[-1].read_bytes() if copies else None


def _name(path: Path) -> str:
    return ".".join(path.relative_to(FOLDER).parts)


def freeze(revision: str) -> list[Path]:
    """Copy the files of :func:`list_unfrozen` to the folder of a migration.

    Returns
    -------
    list[Path]
        The copies, numbered in the order in which they run.
    """
    files, folder = list_files(), FOLDER.parent / revision
    copies = {path: folder / f"{files.index(path):02}_{_name(path)}" for path in list_unfrozen()}
    folder.mkdir(exist_ok=True)
    for path, copy in copies.items():
        shutil.copyfile(path, copy)
    return list(copies.values())


def main() -> None:
    """Print, write or freeze the schema."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--write", action="store_true", help="write tables/*.sql anew from segwatch.db.tables"
    )
    parser.add_argument(
        "--freeze", metavar="REVISION", help="copy changed views and functions for a migration"
    )
    given = parser.parse_args()
    if given.write:
        for path, text in render_tables().items():
            path.write_text(text, encoding="utf-8")
    if given.freeze:
        sys.stdout.writelines(f"{path}\n" for path in freeze(given.freeze))
    if not (given.write or given.freeze):
        sys.stdout.write(build_script())


if __name__ == "__main__":
    main()
