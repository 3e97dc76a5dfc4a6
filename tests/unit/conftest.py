"""Fixtures that tests of the model and of its training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import oracle as records


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the reference's numerical record."""
    folder = tmp_path_factory.mktemp("oracle")
    records.write_record(folder)
    return folder
