"""Fixtures of these tests: ledgers with worlds of rectangles, and the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from segwatch.flows.cli import app
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too


@pytest.fixture
def run_segwatch() -> Callable[..., str]:
    """Return a function that runs a command, which must succeed, and returns what it printed."""

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    return run
