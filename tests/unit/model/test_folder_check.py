"""A folder that is not the model, or not all of it, is refused before anything is allocated, whichever model it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.segmenters import find_tile_px
from segwatch.model import model_version
from segwatch.model.errors import CheckpointError, ConfigError, ModelError
from segwatch.model.predictor import Predictor
from segwatch.model.sam3.concepts import Concept
from segwatch.model.sam3.predictor import Sam3Predictor
from tests.support.tiny_sam3 import TILE_PX, write_sam3, write_sam3_video

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SAM 3 with small random weights."""
    return write_sam3(tmp_path_factory.mktemp("sam3"))


@pytest.fixture
def copy(request: pytest.FixtureRequest, sam3: Path, tmp_path: Path) -> Path:
    """A folder of either model, to be spoiled."""
    source = sam3 if request.param == "sam3" else model_version.SHIPPED_MODEL
    return Path(shutil.copytree(source, tmp_path / "model"))


def _load(folder: Path) -> Sam3Predictor | Predictor:
    if (folder / "vocab.json").exists():
        return Sam3Predictor.load(folder, "cpu")
    return Predictor.load(folder, "cpu")


def _change(*path: str, value: Any) -> Callable[[Path], None]:
    """Give a field of the configuration, in its part, another value."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        data = part = json.loads(file.read_text())
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
        file.write_text(json.dumps(data))

    return change


def _cut(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])


def _cut_header(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:100])


def _page(folder: Path) -> None:
    (folder / WEIGHTS).write_text("<html>Log in to download</html>")


def _damage(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def _lose_a_shard(folder: Path) -> None:
    index = {"weight_map": {"a": WEIGHTS, "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _misshape(key: str, *shape: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        weights[key] = torch.zeros(shape)
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    return change


@pytest.mark.parametrize("copy", ["sam3", "segearth"], indirect=True)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_cut, "it is cut or damaged, download it again"),
        (_cut_header, "no header, or a cut one"),
        (_page, "not a readable safetensors file: no header"),
        (_damage, "a has 4 bytes, its shape needs 36"),
        (_lose_a_shard, r"model-00002\.safetensors named in model\.safetensors\.index\.json is missing"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json: no JSON object"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: not readable"),
        (
            lambda folder: (folder / "config.json").write_text(" " * (1 << 20) + "{}"),
            "more than 1048576 bytes",
        ),
        (lambda folder: (folder / "config.json").unlink(), "no config.json; give a folder with"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    copy: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(copy)
    with pytest.raises(CheckpointError, match=words):
        _load(copy)


@pytest.mark.parametrize(
    ("copy", "spoil", "words"),
    [
        (
            "sam3",
            _change("model_type", value="sam2"),
            "model_type is 'sam2', not 'sam3'; give the folder of facebook",
        ),
        (
            "sam3",
            _change("vision_config", "backbone_config", "image_size", value=112_000),
            "image_size is 112000, not a whole number from 1 to 4096",
        ),
        (
            "sam3",
            _change("detr_encoder_config", "num_attention_heads", value=3),
            "hidden_size 32 is not a multiple of 3 heads",
        ),
        (
            "sam3",
            _change("vision_config", "scale_factors", value=[3.0, 2.0, 1.0]),
            "no SAM 3 can have the dimensions of its config.json",
        ),
        (
            "segearth",
            _change("image_size", value=102_400),
            "image_size is 102400, not a whole number from 1 to 4096",
        ),
        (
            "segearth",
            _change("swin", "depths", value=[2, 2, 10**9, 2]),
            "depths is 1000000000, not a whole number",
        ),
        ("segearth", _change("phi", value=3), "phi is 3, not an object"),
        ("segearth", _change("seg_token_id", value="last"), "seg_token_id is 'last', which no model has"),
        ("segearth", _change("phi", "num_heads", value=3), "hidden_size 128 is not a multiple of 3 heads"),
        (
            "segearth",
            _change("swin", "num_heads", value=[3, 3, 3, 3]),
            r"swin.num_heads=\(3, 3, 3, 3\) do not divide the widths \(32, 64, 128, 256\)",
        ),
        (
            "segearth",
            _change("siglip", "patch_size", value=200),
            "siglip.patch_size=200 is larger than image_size=112",
        ),
        ("segearth", _change("phi", "rotary_share", value=-3.0), "rotary_share is -3.0, which no model has"),
    ],
    indirect=["copy"],
)
def test_a_configuration_that_no_model_can_have_is_refused(
    copy: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(copy)
    with pytest.raises((CheckpointError, ConfigError), match=words):
        _load(copy)


@pytest.mark.parametrize(
    ("copy", "spoil", "words"),
    [
        (
            "sam3",
            _misshape("text_projection.weight", 9, 9),
            r"misshapen: text_projection\.weight \(9, 9\) instead of \(32, 32\)",
        ),
        (
            "sam3",
            _change("text_config", "hidden_size", value=16_384),
            r"text_encoder\.embeddings\.position_embedding\.weight \(32, 32\) instead of \(32, 16384\)",
        ),
        (
            "sam3",
            _change("vision_config", "backbone_config", "num_hidden_layers", value=1),
            r"unexpected: vision_encoder\.backbone\.layers\.1\.",
        ),
        (
            "segearth",
            _misshape("lm_head.weight", 9, 9),
            r"misshapen: lm_head\.weight \(9, 9\) instead of \(1024, 128\)",
        ),
        ("segearth", _change("phi", "num_layers", value=200), r"missing: model\.layers\.10\."),
    ],
    indirect=["copy"],
)
def test_weights_that_do_not_fit_the_configuration_are_named_with_both_shapes(
    copy: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(copy)
    with pytest.raises(ModelError, match=words):
        _load(copy)


def test_the_layout_of_the_hub_is_that_of_the_image_model(sam3: Path, tmp_path: Path) -> None:
    """The hub's folder has the video model, whose detector is the image model; its tracker is left out."""
    tile = np.random.default_rng(0).integers(0, 255, (TILE_PX, TILE_PX, 3), np.uint8)
    hub = Sam3Predictor.load(write_sam3_video(sam3, tmp_path / "hub"), "cpu")
    plain = Sam3Predictor.load(sam3, "cpu")
    ((found,),), ((expected,),) = (one.segment([tile], [Concept("water")]) for one in (hub, plain))
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert (hub.tile_px, found.presence) == (plain.tile_px, expected.presence)
    _misshape("detector_model.text_projection.weight", 9, 9)(tmp_path / "hub")
    with pytest.raises(CheckpointError, match=r"text_projection\.weight \(9, 9\) instead of \(32, 32\)"):
        Sam3Predictor.load(tmp_path / "hub", "cpu")


def test_loading_writes_nothing_of_its_own(
    sam3: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither bars nor loading reports: they would stand between the lines of commands and in the logs of workers."""
    hub = write_sam3_video(sam3, tmp_path / "hub")
    capfd.readouterr()
    for folder in (sam3, hub, model_version.SHIPPED_MODEL):
        _load(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("size", "tile_px"), [(256, 256), (1 << 40, None), (True, None), ("256", None)])
def test_a_tile_size_is_known_without_the_weights_if_it_can_be_one(
    tmp_path: Path, size: Any, tile_px: int | None
) -> None:
    """The size of trials is counted in tiles: a size beyond all bounds would let each of them through."""
    (tmp_path / "config.json").write_text(json.dumps({"image_size": size}))
    assert find_tile_px(load_settings().model_copy(update={"model_path": str(tmp_path)})) == tile_px


def test_a_folder_of_another_model_or_format_says_what_to_set(sam3: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="has weights of SAM 3, not of SegEarth-R2; SEGWATCH_MODEL=sam3"
    ):
        Predictor.load(sam3, "cpu")
    (tmp_path / "config.json").write_bytes((sam3 / "config.json").read_bytes())
    (tmp_path / "sam3.pt").write_bytes(b"a pickle")
    with pytest.raises(CheckpointError, match=r"no \.safetensors file; download the weights in that format"):
        Sam3Predictor.load(tmp_path, "cpu")
