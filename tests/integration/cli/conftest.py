"""The command line in this process, on the ledger of a test."""

from __future__ import annotations

import pytest

from tests.conftest import Database
from tests.integration.conftest import ledger as ledger  # noqa: PLC0414 - a fixture of these tests, too


@pytest.fixture
def commands(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Let commands use the ledger of this test."""
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    return database
