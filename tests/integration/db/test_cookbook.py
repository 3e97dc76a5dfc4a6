"""Every query of the documents runs as it stands, as the analyst."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from segwatch.benchmarks.tracking_scale import COOKBOOK, read_cookbook
from tests.support import documents

QUERIES = read_cookbook()
_COOKBOOK = "docs/how-to/cookbook.md"
OTHERS = [
    (page.name, block.text)
    for page in documents.list_pages()
    if page.name != _COOKBOOK
    for block in page.blocks
    if block.language == "sql"
]


def test_the_cookbook_has_queries() -> None:
    assert len(QUERIES) >= 4
    assert COOKBOOK.read_text(encoding="utf-8").count("```sql") == len(QUERIES)


@pytest.mark.parametrize("title", QUERIES)
def test_a_cookbook_query_runs(analyst_engine: Engine, title: str) -> None:
    with analyst_engine.connect() as conn:
        result = conn.execute(text(QUERIES[title]))
        assert len(set(result.keys())) == len(result.keys()) > 1
        assert result.all() == []


@pytest.mark.parametrize(("page", "query"), OTHERS)
def test_queries_of_other_pages_run(analyst_engine: Engine, page: str, query: str) -> None:
    with analyst_engine.connect() as conn:
        assert conn.execute(text(query)).all() == []
