"""The notebooks run from end to end against a ledger, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat as _nbformat
import pytest
from nbclient import NotebookClient
from nbformat import v4 as _v4

from tests.integration.client.conftest import Ground
from tests.support.paths import ROOT

nbformat: Any = _nbformat  # not typed
v4: Any = _v4
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


def test_they_are_stored_without_outputs() -> None:
    assert [one.stem for one in NOTEBOOKS] == ["accuracy", "flood", "monitoring"]
    for file in NOTEBOOKS:
        book = nbformat.read(file, as_version=4)
        nbformat.validate(book)
        cells = [cell for cell in book.cells if cell.cell_type == "code"]
        assert not [cell for cell in cells if cell.outputs or cell.execution_count], (
            f"clear the outputs of {file.name}"
        )


def test_they_run(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one kernel, which forgets between them: starting one takes longer than running them."""
    monkeypatch.setenv("SEGWATCH_ANALYST_URL", ground.url)
    outputs = _run(tmp_path)
    pictures = {
        name: sum("image/png" in one.get("data", {}) for one in found) for name, found in outputs.items()
    }
    assert pictures == {"monitoring": 4, "flood": 1, "accuracy": 2}
    printed = {name: "".join(str(one) for one in found) for name, found in outputs.items()}
    assert "colour@1" in printed["monitoring"]
    assert "27.3 ha newly under water, 53.0 ha in all" in printed["flood"]
    assert "27.3 ha newly under water; 100% of the grid" in printed["flood"]
    assert "producers" in printed["accuracy"]
    assert ground.database.cluster.info().passwords["segwatch_analyst"] not in str(printed)
    assert (tmp_path / "flood.zarr").is_dir()


def _run(folder: Path) -> dict[str, list[Any]]:
    """Run every notebook; returns the outputs of each."""
    books = {file.stem: nbformat.read(file, as_version=4) for file in NOTEBOOKS}
    cells = [cell for book in books.values() for cell in (*book.cells, v4.new_code_cell("%reset -f"))]
    whole = v4.new_notebook(cells=cells)
    NotebookClient(
        whole, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs: dict[str, list[Any]] = {}
    done = iter(whole.cells)
    for name, book in books.items():
        ours = [next(done) for _ in (*book.cells, None)]
        outputs[name] = [one for cell in ours for one in cell.get("outputs", [])]
    return outputs
