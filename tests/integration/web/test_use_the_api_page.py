"""The commands and lines of docs/how-to/use-the-api.md, run against a real server that asks for tokens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from segwatch.db import tokens
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.conftest import Database
from tests.invariants.conftest import Ledger
from tests.support.live_web import live

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-the-api.md"


def test_the_commands_and_lines_of_the_page_work(database: Database, ledger: Ledger) -> None:
    blocks = re.findall(
        r"^```(sh|python)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert [kind for kind, _ in blocks] == ["sh", "python"]
    with ledger.engine.begin() as conn:
        token = tokens.create(conn, "ada", watch_names=None, scopes=[tokens.Scope.READ], expires_at=None)
    with live(create_app(database.url("segwatch_analyst"), ServerOptions(closed=True))) as address:
        given = {**os.environ, "API": address, "TOKEN": token.secret}
        for (_, text), command in zip(blocks, (["sh", "-ec"], [sys.executable, "-c"]), strict=True):
            made = subprocess.run(
                [*command, text], env=given, capture_output=True, text=True, timeout=300, check=False
            )
            assert made.returncode == 0, made.stderr
            assert "lakes" in made.stdout or "appeared" in made.stdout
            assert "water" in made.stdout or "appeared" in made.stdout
