"""Which generated file comes from what."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from docs.generate import (
    architecture,
    commands,
    errors,
    exports,
    http_api,
    metrics,
    modules,
    notebooks,
    settings,
    tables,
    tracking,
    watch_file,
)
from docs.generate import views as view_page

#: Path under docs/.
VIEWS = "reference/views.md"
_FROM_CODE: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings.page,
    "reference/command-line.md": commands.page,
    "reference/watch-file.md": watch_file.watch_page,
    "reference/watch.schema.json": watch_file.schema_text,
    "reference/playbook.md": watch_file.playbook_page,
    "reference/profile.md": watch_file.profile_page,
    "reference/http-api.md": http_api.page,
    "reference/metrics.md": metrics.page,
    "reference/python-tables.md": tables.page,
    "reference/errors.md": errors.page,
    "reference/exports.md": exports.page,
    "reference/modules.md": modules.page,
    "how-to/notebooks.md": notebooks.page,
    "explanation/architecture.svg": architecture.drawing,
}


def from_code() -> dict[str, str]:
    """Return every generated file that needs no database: path under docs/ -> content."""
    drawings = {f"explanation/tracking-{name}.svg": svg for name, svg in tracking.drawings().items()}
    return {name: make() for name, make in _FROM_CODE.items()} | drawings


def views(conn: Connection) -> str:
    """Return the page of the analyst's views, from a migrated database."""
    return view_page.page(conn)
