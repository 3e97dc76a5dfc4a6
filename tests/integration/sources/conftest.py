"""Shorten the back-off: the test servers run on this machine."""

from __future__ import annotations

import pytest

from segwatch.geo.sources.http import range_requests
from segwatch.geo.sources.search import catalog


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (catalog, range_requests):
        monkeypatch.setattr(module, "_BACK_OFF_SECONDS", 0.02)
