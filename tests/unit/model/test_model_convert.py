"""An official checkpoint to safetensors: strict, and nothing executed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from segwatch.flows.cli import app
from segwatch.model import checkpoint, config, parity, pretrained, tokenizer
from segwatch.model.checkpoint_conversion import convert_checkpoint
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import CheckpointError, ConfigError
from segwatch.model.predictor import Predictor
from segwatch.model.segearth import SegEarthR2
from tests.support.paths import DATA


@pytest.fixture(scope="module")
def manifest() -> dict[str, list[int]]:
    tensors: dict[str, list[int]] = json.loads((DATA / "checkpoint_manifest.json").read_text())["tensors"]
    return tensors


@pytest.fixture(scope="module")
def small() -> SegEarthConfig:
    """Every part of the official model, with its depths, in few channels."""
    official, tiny = config.make_base_config(), config.make_tiny_config()
    return replace(
        tiny,
        name="small",
        phi=replace(tiny.phi, hidden_size=32, intermediate_size=64, num_layers=official.phi.num_layers),
        siglip=replace(
            tiny.siglip, hidden_size=32, intermediate_size=64, num_layers=official.siglip.num_layers
        ),
        swin=replace(tiny.swin, embed_dim=16, depths=official.swin.depths, num_heads=(1, 2, 4, 8)),
        mask=replace(
            tiny.mask,
            width=32,
            encoder_layers=official.mask.encoder_layers,
            decoder_layers=official.mask.decoder_layers,
        ),
    )


@pytest.fixture(scope="module")
def state(small: SegEarthConfig, manifest: dict[str, list[int]]) -> dict[str, Tensor]:
    """Values for every key of the official file."""
    torch.manual_seed(0)
    wanted = checkpoint.list_expected_shapes(pretrained.build_on_meta(small))
    assert set(wanted) <= set(manifest)
    made = {key: torch.randn(shape) * 0.05 for key, shape in wanted.items()}
    spare = {key: torch.zeros(3) for key in manifest if key not in made}
    return made | spare


@pytest.fixture
def official(tmp_path: Path, small: SegEarthConfig) -> Callable[..., Path]:
    """Writes a checkpoint in the official layout."""

    def write(state: dict[str, Tensor], shards: int = 3, form: str = "bin") -> Path:
        folder = tmp_path / "official"
        folder.mkdir()
        tokenizer.train_tokenizer(["segment the water"]).save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps({"model_type": "llava_phi", "hidden_size": 32}))
        (tmp_path / "small.json").write_text(json.dumps(small.to_dict()))
        weight_map = {}
        stem, suffix = ("pytorch_model", "bin") if form == "bin" else ("model", "safetensors")
        for shard in range(shards):
            name = f"{stem}-{shard + 1:05d}-of-{shards:05d}.{suffix}"
            part = dict(list(state.items())[shard::shards])
            if form == "bin":
                torch.save(part, folder / name)
            else:
                save_file(part, folder / name)
            weight_map.update(dict.fromkeys(part, name))
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))
        return folder

    return write


@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_every_key_of_the_official_layout_is_converted(
    official: Callable[..., Path], state: dict[str, Tensor], tmp_path: Path, form: str
) -> None:
    source, target = official(state, form=form), tmp_path / "converted"
    result = CliRunner().invoke(
        app,
        ["model", "convert", str(source), str(target), "--config", str(tmp_path / "small.json"), "--json"],
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["keys"] + len(report["unused"]) == len(state)
    loaded = pretrained.load_pretrained(target, "cpu")
    ours = loaded.model.state_dict()
    for name, value in ours.items():
        origin = checkpoint.find_origin(name)
        theirs = state[origin.key]
        expected = theirs if origin.part is None else theirs.chunk(3)[origin.part]
        assert torch.equal(value, expected), name
    predictor = Predictor.load(target, "cpu", max_new_tokens=2)
    assert predictor.version == report["version"]
    image = np.zeros((64, 64, 3), np.uint8)
    assert len(predictor.segment([image], ["segment the water"])[0]) == 1


def test_official_dimensions_need_no_configuration(manifest: dict[str, list[int]], tmp_path: Path) -> None:
    """At full size, on a device that holds shapes only."""
    tokenizer.train_tokenizer(["water"]).save_pretrained(tmp_path)
    shapes = {key: tuple(shape) for key, shape in manifest.items()}
    found = pretrained.read_official_config(tmp_path, shapes)
    assert (found.phi.vocab_size, found.seg_token_id) == (51200, 1023)
    report = checkpoint.check_keys(
        pretrained.build_on_meta(found), shapes, found.siglip.layers_used, where="manifest"
    )
    assert report.loaded + len(report.unused) == len(manifest)


def test_keys_that_do_not_fit_are_listed(
    official: Callable[..., Path], state: dict[str, Tensor], tmp_path: Path
) -> None:
    broken = dict(state)
    del broken["lm_head.weight"]
    broken["surprise.weight"] = torch.zeros(2)
    broken["SEG_token_projector.bias"] = torch.zeros(7)
    source = official(broken)
    result = CliRunner().invoke(
        app,
        ["model", "convert", str(source), str(tmp_path / "out"), "--config", str(tmp_path / "small.json")],
    )
    assert result.exit_code == 1
    text = " ".join(result.stderr.split())
    assert "missing: lm_head.weight" in text
    assert "unexpected: surprise.weight" in text
    assert "misshapen: SEG_token_projector.bias (7,) instead of (32,)" in text
    assert not (tmp_path / "out").exists()


def test_training_checkpoints_get_advice(tmp_path: Path) -> None:
    """ZeRO shards and bare adapters look like a model's folder; the decoder of the second is nowhere in it."""
    run = tmp_path / "output"
    step = run / "checkpoint-5000"
    (step / "global_step5000").mkdir(parents=True)
    save_file({"base_model.model.lora_A.weight": torch.zeros(2)}, step / "adapter_model.safetensors")
    (step / "adapter_config.json").write_text("{}")
    (step / "global_step5000" / "zero_pp_rank_0_mp_rank_00_model_states.pt").write_bytes(b"")
    advice = "pixel_decoder, predictor and SEG_token_projector are trained outside the adapter.*merge_lora_weights.sh"
    for folder, what in (
        (run, r"no weights, but training checkpoints \(checkpoint-5000\)"),
        (step, r"a DeepSpeed \(ZeRO\) checkpoint"),
        (step / "global_step5000", r"a DeepSpeed \(ZeRO\) checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=f"{what}.*{advice}"):
            convert_checkpoint(folder, tmp_path / "out")
    (step / "global_step5000" / "zero_pp_rank_0_mp_rank_00_model_states.pt").unlink()
    with pytest.raises(CheckpointError, match=f"an adapter without the model.*{advice}"):
        convert_checkpoint(step, tmp_path / "out")


def test_the_prompt_and_the_end_of_text_belong_to_the_weights(
    official: Callable[..., Path],
    state: dict[str, Tensor],
    small: SegEarthConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source, wrong = official(state, shards=1), tmp_path / "wrong.json"
    wrong.write_text(json.dumps({**small.to_dict(), "eos_token_id": 2}))
    other = tmp_path / "prompt.txt"
    other.write_text("<|vision|>\n<image>\nSegment: {instruction}\nASSISTANT:\n")
    command = ["model", "convert", str(source), "--config", str(wrong)]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "one"), "--prompt", str(other)])
    assert done.exit_code == 0, done.output
    assert "gives eos_token_id 2; 1022, the tokenizer's <|endoftext|>, is written" in " ".join(
        done.stdout.split()
    )
    convert_checkpoint(source, tmp_path / "two", config_file=wrong)
    ours, published = (Predictor.load(tmp_path / name, "cpu", max_new_tokens=2) for name in ("one", "two"))
    assert ours._model.config.eos_token_id == 1022
    assert ours.version != published.version, "the same weights, asked in another way"
    head, _, tail = other.read_text().partition("<image>")
    ids = ours._tokenize(["the lake"])[0]
    cut = ids.index(-200)
    assert ours._tokenizer.decode(ids[:cut]) == head
    assert ours._tokenizer.decode(ids[cut + 1 :]) == tail.replace("{instruction}", "the lake").rstrip("\n")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert len(ours.segment([image], ["the lake", "the road"])[0]) == 2
    assert "You are using a model of type" not in capfd.readouterr().err + caplog.text
    for text, problem in (
        ("{instruction}", "<image> 0 times"),
        ("{instruction} <image>", "write the image first"),
    ):
        other.write_text(text)
        with pytest.raises(ConfigError, match=problem):
            convert_checkpoint(source, tmp_path / "three", config_file=wrong, prompt_file=other)


def test_an_official_end_of_text_is_repaired_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = tokenizer.train_tokenizer(["water"])
    words.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava_phi", "eos_token_id": 2}))
    save_file({"model.embed_tokens.weight": torch.zeros(1024, 2)}, tmp_path / "model.safetensors")
    assert pretrained.read_config(tmp_path).eos_token_id == 1022
    assert "config.json gives eos_token_id 2; 1022, the tokenizer's <|endoftext|>, is used" in caplog.text
    assert "You are using a model of type" not in caplog.text


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


def test_a_pickle_that_would_run_code_is_not_read(
    official: Callable[..., Path], state: dict[str, Tensor], tmp_path: Path
) -> None:
    source, marker = official(state), tmp_path / "ran"
    shard = sorted(source.glob("*.bin"))[1]
    torch.save({"lm_head.weight": _Payload(marker)}, shard)
    with pytest.raises(CheckpointError, match="would run code"):
        convert_checkpoint(source, tmp_path / "out", config_file=tmp_path / "small.json")
    shard.write_bytes(pickle.dumps(_Payload(marker)))
    with pytest.raises(CheckpointError, match=r"would run code|not a readable checkpoint"):
        convert_checkpoint(source, tmp_path / "out", config_file=tmp_path / "small.json")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_an_invalid_checkpoint_is_named(
    official: Callable[..., Path], state: dict[str, Tensor], tmp_path: Path
) -> None:
    source, small = official(state), tmp_path / "small.json"

    def refused(message: str, folder: Path = source, target: Path = tmp_path / "out") -> None:
        with pytest.raises(CheckpointError, match=message):
            convert_checkpoint(folder, target, config_file=small)
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "out.partial").exists()

    refused("no such folder", tmp_path / "nowhere")
    refused("exists and is left unchanged; give a folder that does not exist", target=source)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(r"neither \*\.safetensors nor", empty)
    shards = sorted(source.glob("*.bin"))
    whole = shards[0].read_bytes()
    shards[0].write_bytes(whole[: len(whole) // 2])
    refused("not a readable checkpoint")
    shards[0].write_bytes(whole)
    part = torch.load(shards[0], weights_only=True)
    key = next(key for key in part if not key.startswith(("predictor.query", "model.vision_tower.")))
    torch.save(part | {key: torch.full_like(part[key], float("nan"))}, shards[0])
    refused(f"{key} holds values that are not finite")
    torch.save(part | {key: torch.full_like(part[key], 1e5, dtype=torch.float32)}, shards[0])
    with pytest.raises(
        CheckpointError, match=rf"{key} holds values up to 1e\+05, too large for torch.float16"
    ):
        convert_checkpoint(source, tmp_path / "out", config_file=small, dtype=torch.float16)
    torch.save(part | {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2)}, shards[0])
    refused("LoRA weights beside the model's, not merged; .*merge_lora_weights.sh on the DeepSpeed")
    torch.save([part], shards[0])
    refused("not a mapping of names to tensors")
    other = torch.load(shards[1], weights_only=True)
    torch.save(part | dict(list(other.items())[:1]), shards[0])
    refused("is in .* and in .*; give a folder with one of them")
    index = source / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../../etc/passwd"}}))
    refused("is not a .bin file of this folder")
    index.write_text("[]")
    refused("not a readable index")


def test_weights_are_stored_as_requested(
    official: Callable[..., Path], state: dict[str, Tensor], tmp_path: Path
) -> None:
    source = official(state, shards=1)
    target = tmp_path / "half"
    convert_checkpoint(source, target, config_file=tmp_path / "small.json", dtype=torch.bfloat16)
    shapes = checkpoint.read_shapes(checkpoint.list_weight_files(target))
    assert shapes == {key: tuple(state[key].shape) for key in shapes}
    stored = dict(checkpoint.read_tensors(checkpoint.list_weight_files(target)[0], ["lm_head.weight"]))
    assert stored["lm_head.weight"].dtype == torch.bfloat16


def test_half_precision_is_near_the_reference(oracle: Path) -> None:
    """bfloat16 in the language half: the tolerance that the README states."""
    stages = {diff.stage: diff for diff in parity.compare_with_reference(oracle, torch.bfloat16)}
    assert {name: diff.max_abs_diff for name, diff in stages.items() if not diff.max_abs_diff <= 0.15} == {}
    for image in range(2):
        assert stages[f"generated_ids.{image}"].max_abs_diff == 0
        assert stages[f"generated_masks.{image}"].max_abs_diff < 0.02, "share of pixels"
    exact = CliRunner().invoke(app, ["model", "parity", str(oracle), "--dtype", "bfloat16"])
    assert exact.exit_code == 1, "past the tolerance of float32"
    loose = CliRunner().invoke(
        app, ["model", "parity", str(oracle), "--dtype", "bfloat16", "--tolerance", "0.15"]
    )
    assert loose.exit_code == 0


def test_a_converted_model_predicts_as_its_source(tmp_path: Path) -> None:
    torch.manual_seed(1)
    words = tokenizer.train_tokenizer(["segment the water"])
    pretrained.save_pretrained(SegEarthR2(config.make_tiny_config()), words, tmp_path / "one")
    convert_checkpoint(tmp_path / "one", tmp_path / "two", config_file=tmp_path / "one" / "config.json")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    first, second = (
        Predictor.load(tmp_path / name, "cpu", max_new_tokens=4).segment([image], ["water"])[0][0]
        for name in ("one", "two")
    )
    assert first.text == second.text
    assert np.array_equal(first.mask_logits, second.mask_logits)
