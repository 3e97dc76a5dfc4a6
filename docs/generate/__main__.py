"""``python -m docs.generate``: write every generated page and drawing; the views come from a temporary database."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from docs.generate import pages
from docs.generate.markdown import ROOT
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.migrate import upgrade


def main() -> None:
    """Write what differs from the committed files, and name it."""
    made = pages.from_code() | {pages.VIEWS: _views()}
    for name, content in made.items():
        file = ROOT / "docs" / name
        if not file.is_file() or file.read_text(encoding="utf-8") != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
            print(f"wrote docs/{name}")  # noqa: T201 - a script for people


def _views() -> str:
    home = Path(tempfile.mkdtemp(prefix="segwatch-docs-", dir="/tmp"))
    home.chmod(0o755)
    cluster = Cluster(home, durable=False)
    try:
        url = cluster.up().url_for("segwatch_owner")
        upgrade(url)
        engine = make_engine(url)
        with engine.connect() as conn:
            text = pages.views(conn)
        engine.dispose()
        return text
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
