"""Fixtures of these tests: ledgers with worlds of rectangles."""

from __future__ import annotations

from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too
