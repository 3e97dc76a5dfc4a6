"""Every query of the cookbook runs unchanged with the rights of the analyst."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from segwatch.benchmarks.tracking_scale import COOKBOOK, read_cookbook

QUERIES = read_cookbook()


def test_the_cookbook_has_queries() -> None:
    assert len(QUERIES) >= 4
    assert COOKBOOK.read_text(encoding="utf-8").count("```sql") == len(QUERIES)


@pytest.mark.parametrize("title", QUERIES)
def test_a_cookbook_query_runs(analyst_engine: Engine, title: str) -> None:
    with analyst_engine.connect() as conn:
        result = conn.execute(text(QUERIES[title]))
        assert len(set(result.keys())) == len(result.keys()) > 1
        assert result.all() == []
