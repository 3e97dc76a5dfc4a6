"""The page of the analyst's views says what a migrated database says."""

from __future__ import annotations

import re

from sqlalchemy import Engine

from docs.generate import pages
from tests.support.paths import ROOT


def test_it_is_current_and_complete(engine: Engine) -> None:
    committed = (ROOT / "docs" / pages.VIEWS).read_text(encoding="utf-8")
    with engine.connect() as conn:
        assert committed == pages.views(conn), "run: python -m docs.generate"
    undefined = re.findall(r"^## watch\.(\w+)\n\n(?:[^\n]+\n\n)?\n", committed, re.MULTILINE)
    assert undefined == [], "the file that defines a view is named beside it"
    assert not re.search(r"\| `\w+` \| [^|]+ \|  \|", committed), "every column has a comment"
