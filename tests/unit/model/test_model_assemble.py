"""SegEarth-R2 from its public parts: every parameter accounted for, and nothing executed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from segwatch.flows.cli import app
from segwatch.model import checkpoint, checkpoint_assembly, config, pretrained, tokenizer
from segwatch.model.checkpoint_assembly import PublicPart
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import CheckpointError
from segwatch.model.predictor import Predictor
from tests.support.paths import DATA

_FRESH = ("SEG_token_projector.", "pixel_decoder.adapter_1.0.bias", "pixel_decoder.layer_1.0.bias")
#: What Mask2Former calls its two convolutions and their norms.
_CONVOLUTIONS = {
    "adapter_1.0.weight": "adapter_1.weight",
    "adapter_1.1.": "adapter_1.norm.",
    "layer_1.0.weight": "layer_1.weight",
    "layer_1.1.": "layer_1.norm.",
}


def _part_and_key(key: str) -> tuple[PublicPart, str] | None:
    """Where a key of the whole model stands in the published parts; None = nowhere."""
    if key.startswith(_FRESH):
        return None
    if key.startswith("model.vision_tower_mask."):
        return PublicPart.MASK2FORMER, key.replace("model.vision_tower_mask.", "backbone.")
    if key.startswith(("pixel_decoder.", "predictor.")):
        for ours, theirs in _CONVOLUTIONS.items():
            key = key.replace(ours, theirs)
        return PublicPart.MASK2FORMER, f"sem_seg_head.{key}"
    if key.startswith("model.vision_tower."):
        return PublicPart.SIGLIP, key.removeprefix("model.vision_tower.")
    return PublicPart.MIPHA, key


@dataclass(frozen=True)
class Published:
    """Three parts as they are published, in few channels."""

    folder: Path
    state: dict[str, Tensor]
    arrays: dict[str, NDArray[np.generic]]
    dimensions: SegEarthConfig

    def arguments(self, out: Path) -> list[str]:
        """Of the command."""
        f = self.folder
        parts = ["--mipha", f / "mipha", "--siglip", f / "siglip", "--mask2former", f / "m2f.pkl"]
        return ["model", "assemble", *map(str, [*parts, "--out", out, "--config", f / "small.json"])]

    def assemble(self, out: Path) -> checkpoint_assembly.AssemblyReport:
        """Assemble them."""
        f = self.folder
        return checkpoint_assembly.assemble_checkpoint(
            f / "mipha", f / "siglip", f / "m2f.pkl", out, dimensions=self.dimensions
        )


def _write_mipha(state: dict[str, Tensor], folder: Path) -> None:
    """Write two pickled shards with an index, as Mipha-3B is published, with its own vision tower."""
    weight_map = {}
    for number in (1, 2):
        name = f"pytorch_model-{number:05d}-of-00002.bin"
        part = dict(list(state.items())[number - 1 :: 2])
        torch.save(part, folder / name)
        weight_map.update(dict.fromkeys(part, name))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"model_type": "mipha_phi", "eos_token_id": 50256}))


@pytest.fixture
def published(tmp_path: Path) -> Published:
    dimensions = replace(config.make_tiny_config(), name="small")
    torch.manual_seed(0)
    shapes = checkpoint.list_expected_shapes(pretrained.build_on_meta(dimensions))
    state = {key: torch.randn(shape) * 0.05 for key, shape in shapes.items()}
    parts: dict[PublicPart, dict[str, Tensor]] = {part: {} for part in PublicPart}
    for key, value in state.items():
        if (place := _part_and_key(key)) is not None:
            parts[place[0]][place[1]] = value
    # padding rows behind the last token, and what the architecture has no place for
    rows = torch.full((40, dimensions.phi.hidden_size), 7.0)
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        parts[PublicPart.MIPHA][key] = torch.cat([parts[PublicPart.MIPHA][key], rows])
    parts[PublicPart.MIPHA]["lm_head.bias"] = torch.zeros(3)
    parts[PublicPart.MIPHA]["model.vision_tower.vision_tower.vision_model.post_layernorm.bias"] = torch.zeros(
        3
    )
    parts[PublicPart.SIGLIP]["logit_scale"] = torch.zeros(1)
    arrays: dict[str, NDArray[np.generic]] = {
        key: value.numpy() for key, value in parts[PublicPart.MASK2FORMER].items()
    }
    arrays["backbone.layers.0.blocks.0.attn.relative_position_index"] = np.zeros((4, 4), np.int64)
    arrays["criterion.empty_weight"] = np.zeros(3, np.float32)
    for name, part in (("mipha", PublicPart.MIPHA), ("siglip", PublicPart.SIGLIP)):
        (tmp_path / name).mkdir()
        if name == "mipha":
            tokenizer.train_tokenizer(["segment the water"]).save_pretrained(tmp_path / name)
            _write_mipha(parts[part], tmp_path / name)
        else:
            save_file(parts[part], tmp_path / name / "model.safetensors")
    document = {"model": arrays, "__author__": "third_party"}
    (tmp_path / "m2f.pkl").write_bytes(pickle.dumps(document, protocol=2))
    (tmp_path / "small.json").write_text(json.dumps(dimensions.to_dict()))
    return Published(tmp_path, state, arrays, dimensions)


def test_every_parameter_comes_from_its_part(published: Published, tmp_path: Path) -> None:
    out = tmp_path / "assembled"
    result = CliRunner().invoke(app, [*published.arguments(out), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert json.loads((out / checkpoint_assembly.ACCOUNT_FILE).read_text())["origins"] == report["origins"]
    shapes = checkpoint.list_expected_shapes(pretrained.build_on_meta(published.dimensions))
    assert set(report["origins"]) == set(shapes)
    assert sum(report["parameters"].values()) == sum(int(np.prod(shape)) for shape in shapes.values())
    assert report["unused"] == {
        "mipha": ["lm_head.bias", "model.vision_tower.vision_tower.vision_model.post_layernorm.bias"],
        "siglip": ["logit_scale"],
        "mask2former": [
            "backbone.layers.0.blocks.0.attn.relative_position_index",
            "criterion.empty_weight",
        ],
    }
    files = {
        part: {one[2] for one in report["origins"].values() if one[0] == part} for part in report["unused"]
    }
    assert files == {
        "mipha": {"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"},
        "siglip": {"model.safetensors"},
        "mask2former": {"m2f.pkl"},
    }
    table = (out / checkpoint_assembly.TABLE_FILE).read_text()
    assert "| SEG_token_projector | fresh | uniform, +-1 / sqrt(inputs) | 2 |" in table
    assert "| predictor.mask_embed | mask2former | m2f.pkl |" in table
    assert f"| all | | | {len(shapes)} |" in table
    for name, value in pretrained.load_pretrained(out, "cpu").model.state_dict().items():
        origin = checkpoint.find_origin(name)
        if origin.key.startswith(_FRESH):
            assert report["origins"][origin.key][0] == "fresh"
            continue
        theirs = published.state[origin.key]
        if origin.key in {"model.embed_tokens.weight", "lm_head.weight"}:
            seg = published.dimensions.seg_token_id
            torch.testing.assert_close(value[seg], theirs[:seg].mean(dim=0))
            assert torch.equal(value[:seg], theirs[:seg])
            continue
        assert torch.equal(value, theirs if origin.part is None else theirs.chunk(3)[origin.part]), name


def test_the_assembled_model_runs_and_is_reproducible(published: Published, tmp_path: Path) -> None:
    first = published.assemble(tmp_path / "one")
    second = published.assemble(tmp_path / "two")
    assert first.version == second.version
    assert first.version.startswith(f"{checkpoint_assembly.ASSEMBLED_NAME}@")
    predictor = Predictor.load(tmp_path / "one", "cpu", max_new_tokens=2)
    image = np.zeros((64, 64, 3), np.uint8)
    assert len(predictor.segment([image], ["segment the water"])[0]) == 1


def test_at_full_size_only_the_stated_parameters_are_fresh() -> None:
    """With the published shapes, on a device that holds no values."""
    manifest: dict[str, list[int]] = json.loads((DATA / "checkpoint_manifest.json").read_text())["tensors"]
    parts: dict[PublicPart, dict[str, tuple[int, ...]]] = {
        part: {} for part in (PublicPart.MIPHA, PublicPart.SIGLIP, PublicPart.MASK2FORMER)
    }
    for key, shape in manifest.items():
        if (place := _part_and_key(key)) is not None:
            parts[place[0]][place[1]] = tuple(shape)
    official = config.make_base_config()
    dimensions = replace(official, phi=replace(official.phi, vocab_size=official.seg_token_id + 1))
    account = checkpoint_assembly.plan_assembly(parts, dimensions)
    fresh = {key for key, origin in account.origins.items() if origin.part is PublicPart.FRESH}
    assert fresh == {
        "SEG_token_projector.weight",
        "SEG_token_projector.bias",
        "pixel_decoder.adapter_1.0.bias",
        "pixel_decoder.layer_1.0.bias",
    }
    assert account.unused[PublicPart.MIPHA] == ()
    assert all(
        "predictor." in key or "relative_position" in key for key in account.unused[PublicPart.MASK2FORMER]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arrays: arrays.pop("sem_seg_head.predictor.level_embed.weight"),
            "no part has predictor.level_embed",
        ),
        (
            lambda arrays: arrays.update({"backbone.norm0.bias": np.zeros(5, np.float32)}),
            r"mask2former: backbone.norm0.bias is \(5,\) instead of",
        ),
        (
            lambda arrays: arrays.update({"backbone.norm0.bias": np.full(32, np.nan, np.float32)}),
            "backbone.norm0.bias holds values that are not finite",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(
    published: Published,
    tmp_path: Path,
    change: Callable[[dict[str, NDArray[np.generic]]], object],
    message: str,
) -> None:
    change(published.arrays)
    (published.folder / "m2f.pkl").write_bytes(pickle.dumps({"model": published.arrays}))
    with pytest.raises(CheckpointError, match=message):
        published.assemble(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


class _Touches:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("inside", [False, True])
def test_a_pickle_that_would_run_code_is_refused(
    published: Published, tmp_path: Path, protocol: int, inside: bool
) -> None:
    marker = tmp_path / "ran"
    payload: Any = _Touches(marker)
    if inside:  # as an element of an array of objects
        objects = np.empty(1, dtype=object)
        objects[0] = payload
        payload = published.arrays | {"surprise": objects}
    (published.folder / "m2f.pkl").write_bytes(pickle.dumps({"model": payload}, protocol=protocol))
    with pytest.raises(CheckpointError, match="would run code"):
        published.assemble(tmp_path / "out")
    assert not marker.exists()


class _Huge:
    """Allocates before anything is checked."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.ndarray, ((2**40,),)


class _Fields:
    """An array whose dtype holds objects."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ([("x", "O")],)


@pytest.mark.parametrize(
    "payload",
    [
        _Huge(),
        _Fields(),
        np.array([{}], dtype=object),
        np.array([(1,)], dtype=[("a", "i4")]),
        np.array(["text"]),
    ],
)
def test_a_pickle_holds_nothing_but_numeric_arrays(
    published: Published, tmp_path: Path, payload: Any
) -> None:
    for protocol in (2, 5):
        arrays = published.arrays | {"backbone.norm0.bias": payload}
        (published.folder / "m2f.pkl").write_bytes(pickle.dumps({"model": arrays}, protocol=protocol))
        with pytest.raises(
            CheckpointError, match=r"m2f\.pkl: (holds more than arrays|not a readable pickle)"
        ):
            published.assemble(tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([1]),
        pickle.dumps({"model": {"a": "text"}}),
        pickle.dumps({"a": 1})[:-2],
    ],
)
def test_damaged_files_have_one_clear_error(published: Published, tmp_path: Path, content: bytes) -> None:
    (published.folder / "m2f.pkl").write_bytes(content)
    result = CliRunner().invoke(app, published.arguments(tmp_path / "out"))
    assert result.exit_code == 1
    assert "m2f.pkl" in result.stderr
    assert "would run code" not in result.stderr, "nothing in it asks for that"
    assert "Traceback" not in result.stderr
