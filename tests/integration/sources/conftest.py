"""Servers here are on this machine: nothing is won by waiting long before they are asked again."""

from __future__ import annotations

import pytest

from segwatch.geo.sources.http import ranges
from segwatch.geo.sources.search import catalog


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (catalog, ranges):
        monkeypatch.setattr(module, "_BACK_OFF_SECONDS", 0.02)
