"""A folder that is not SAM 3, or not all of it, is refused before anything is allocated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segwatch.model.errors import CheckpointError
from segwatch.model.sam3.predictor import Sam3Predictor
from tests.support.tiny_sam3 import write_sam3


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small random weights."""
    return write_sam3(tmp_path_factory.mktemp("sam3"))


def _change(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def _enlarge(folder: Path) -> None:
    file = folder / "config.json"
    data = json.loads(file.read_text())
    data["vision_config"]["backbone_config"]["image_size"] = 112_000
    file.write_text(json.dumps(data))


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def _cut_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def _page(folder: Path) -> None:
    (folder / "model.safetensors").write_text("<html>Log in to download</html>")


def _misshape(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(4)
    (folder / "model.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_change(model_type="sam2"), "model_type is 'sam2', not 'sam3'; give the folder of facebook/sam3"),
        (_enlarge, "image_size is 112000, not a whole number from 1 to 4096"),
        (_cut, "it is cut or damaged, download it again"),
        (_cut_header, "no header of safetensors, or a cut one"),
        (_page, "no header of safetensors, or a cut one"),
        (_misshape, "a has 4 bytes, its shape needs 36"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json: no JSON object"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    sound: Path, tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    spoil(folder)
    with pytest.raises(CheckpointError, match=words):
        Sam3Predictor.load(folder, "cpu")
