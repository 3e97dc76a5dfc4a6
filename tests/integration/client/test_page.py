"""The examples of *Work in Python* run as they are written there, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib import pyplot

from tests.integration.client.conftest import Ground
from tests.support.documents import read_page


def test_every_example_runs(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGWATCH_ANALYST_URL", ground.url)
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    names: dict[str, Any] = {}
    blocks = [one for one in read_page("docs/how-to/python.md").blocks if one.language == "python"]
    assert len(blocks) >= 8
    for block in blocks:
        exec(block.text, names)  # noqa: S102 - the page's own example
    printed = capsys.readouterr().out
    assert "53.0" in printed.replace("52.98", "53.0")
    assert "colour@1 False" in printed
    assert list(names["water"].values.ravel()) == [2565, 2565, 1031, 5294, 5294]
    assert names["area"] == names["lakes"].area_m2.max()
    assert len(names["then"]) == 2
    assert names["as_known_then"].empty, "nothing was recorded then"
    assert names["again"].sizes == names["cube"].sizes
    names["s"].close()
    pyplot.close("all")
