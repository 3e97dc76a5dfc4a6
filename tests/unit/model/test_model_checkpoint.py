"""Key names, strict loading and the way to disk and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from segwatch.model import checkpoint, config, model_version, pretrained, tokenizer
from segwatch.model.errors import CheckpointError, ConfigError, TokenizerError
from segwatch.model.segearth import SegEarthR2
from tests.support.paths import DATA

MANIFEST = DATA / "checkpoint_manifest.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    pretrained.save_pretrained(
        SegEarthR2(config.make_tiny_config()), tokenizer.train_tokenizer(["segment the water"]), directory
    )
    return directory


def _rewritten(saved: Path, target: Path, **changes: Tensor | None) -> Path:
    state = load_file(saved / checkpoint.WEIGHTS_FILE)
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    target.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (target / name).write_bytes((saved / name).read_bytes())
    save_file(state, target / checkpoint.WEIGHTS_FILE)
    return target


def test_full_size_model_has_the_published_keys_and_shapes() -> None:
    recorded = json.loads(MANIFEST.read_text())
    shapes = {key: tuple(shape) for key, shape in recorded["tensors"].items()}
    official = config.make_base_config()
    report = checkpoint.check_keys(
        pretrained.build_on_meta(official), shapes, official.siglip.layers_used, where="manifest"
    )
    assert report.loaded + len(report.unused) == len(shapes)
    assert all(
        key.startswith(("predictor.", "model.vision_tower.vision_model."))
        or key.endswith("relative_position_index")
        for key in report.unused
    )


def test_full_size_shapes_are_the_published_ones() -> None:
    model = pretrained.build_on_meta(config.make_base_config()).eval()
    assert model.image_tokens(torch.empty(2, 3, 384, 384, device="meta")).shape == (2, 729, 2560)
    pixels = model.pixel_features(torch.empty(2, 3, 1024, 1024, device="meta"))
    assert pixels.mask_features.shape == (2, 256, 256, 256)
    assert [scale.shape[2:] for scale in pixels.scales] == [(32, 32), (64, 64), (128, 128)]
    masks, _ = model.mask_decoder(pixels, torch.empty(2, 3, 256, device="meta"))
    assert [mask.shape for mask in masks] == [(2, 3, 256, 256)] * 10


def test_tiny_is_small_enough_to_ship(saved: Path) -> None:
    parameters = sum(value.numel() for value in SegEarthR2(config.make_tiny_config()).parameters())
    assert parameters <= 4_500_000
    assert (saved / checkpoint.WEIGHTS_FILE).stat().st_size <= 18_000_000


def test_round_trip_keeps_every_value(saved: Path, tmp_path: Path) -> None:
    loaded = pretrained.load_pretrained(saved, "cpu")
    assert loaded.model.config == config.make_tiny_config()
    pretrained.save_pretrained(loaded.model, loaded.tokenizer, tmp_path)
    first, second = load_file(saved / checkpoint.WEIGHTS_FILE), load_file(tmp_path / checkpoint.WEIGHTS_FILE)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_loaded_model_computes_what_the_saved_one_did(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = SegEarthR2(config.make_tiny_config()).eval()
    pretrained.save_pretrained(model, tokenizer.train_tokenizer(["water"]), tmp_path)
    again = pretrained.load_pretrained(tmp_path, "cpu").model
    with torch.no_grad():
        images, clip, ids = (
            torch.randn(1, 3, 256, 256),
            torch.randn(1, 3, 112, 112),
            torch.tensor([1, -200, 2, 1023]),
        )
        one, two = (part([ids], images, clip, answer_start=[2]) for part in (model, again))
    assert torch.equal(one.logits, two.logits)
    assert torch.equal(one.pred_masks[-1], two.pred_masks[-1])


def test_half_precision_leaves_the_mask_branch_and_the_rotary_table_alone(saved: Path) -> None:
    model = pretrained.load_pretrained(saved, "cpu", torch.bfloat16).model
    assert model.dtype == torch.bfloat16
    assert model.query_projector.weight.dtype == torch.float32
    assert model.language.phi.rotary_emb.inv_freq.dtype == torch.float32


def test_missing_surplus_and_misshapen_keys_are_named(saved: Path, tmp_path: Path) -> None:
    broken = _rewritten(
        saved,
        tmp_path / "broken",
        **{
            "model.final_layernorm.bias": None,
            "model.stranger": torch.zeros(1),
            "lm_head.weight": torch.zeros(3, 128),
        },
    )
    with pytest.raises(CheckpointError) as error:
        pretrained.load_pretrained(broken, "cpu")
    message = str(error.value)
    assert "missing: model.final_layernorm.bias" in message
    assert "unexpected: model.stranger" in message
    assert "misshapen: lm_head.weight (3, 128) instead of (1024, 128)" in message


def test_known_unused_keys_are_accepted_and_reported(saved: Path, tmp_path: Path) -> None:
    extra = {"predictor.CLASS_proj.weight": torch.zeros(1), "criterion.empty_weight": torch.zeros(1)}
    report = pretrained.load_pretrained(_rewritten(saved, tmp_path / "extra", **extra), "cpu").report
    assert report.unused == tuple(sorted(extra, reverse=False))


def test_a_pickle_is_not_opened(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match="would run code"):
        pretrained.load_pretrained(tmp_path, "cpu")


def test_an_index_may_not_point_outside_the_folder(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "../elsewhere.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="elsewhere"):
        checkpoint.list_weight_files(tmp_path)


def test_shards_load_by_their_index(saved: Path, tmp_path: Path) -> None:
    state = load_file(saved / checkpoint.WEIGHTS_FILE)
    keys = sorted(state)
    shards = {"one.safetensors": keys[::2], "two.safetensors": keys[1::2]}
    for name, own in shards.items():
        save_file({key: state[key] for key in own}, tmp_path / name)
    index = {"weight_map": {key: name for name, own in shards.items() for key in own}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    model, report = pretrained.build_from_weights(
        config.make_tiny_config(), checkpoint.list_weight_files(tmp_path)
    )
    assert report.loaded == len(keys)
    assert torch.equal(model.state_dict()["language.lm_head.weight"], state["lm_head.weight"])
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"two\.safetensors"):
        checkpoint.list_weight_files(tmp_path)


def test_two_files_with_the_same_weights_are_refused(saved: Path, tmp_path: Path) -> None:
    """It is ambiguous which of them to load."""
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "older.safetensors").write_bytes((saved / checkpoint.WEIGHTS_FILE).read_bytes())
    with pytest.raises(CheckpointError, match=r"is in model\.safetensors and in older\.safetensors"):
        pretrained.build_from_weights(config.make_tiny_config(), checkpoint.list_weight_files(tmp_path))


def test_weights_are_read_once_for_their_version_and_again_when_they_change(
    saved: Path, tmp_path: Path
) -> None:
    """Every step of a run computes the version, and official weights take many seconds to read."""
    target = _rewritten(saved, tmp_path / "copy")
    first = model_version.compute_version(target)
    hits = model_version._digest.cache_info().hits
    assert model_version.compute_version(target) == first
    assert model_version._digest.cache_info().hits == hits + 1
    state = load_file(target / checkpoint.WEIGHTS_FILE)
    save_file({**state, "lm_head.weight": state["lm_head.weight"] + 1}, target / checkpoint.WEIGHTS_FILE)
    assert model_version.compute_version(target) != first


def test_nothing_is_saved_beside_another_models_weights(saved: Path, tmp_path: Path) -> None:
    (tmp_path / checkpoint.INDEX_FILE).write_text("{}")
    loaded = pretrained.load_pretrained(saved, "cpu")
    with pytest.raises(CheckpointError, match="weights of another model"):
        pretrained.save_pretrained(loaded.model, loaded.tokenizer, tmp_path)


def test_an_official_folder_takes_vocabulary_and_ids_from_its_files(saved: Path, tmp_path: Path) -> None:
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "phi", "name": "official"}))
    found = pretrained.read_config(tmp_path)
    assert (found.name, found.swin, found.image_size) == ("official", config.make_base_config().swin, 1024)
    assert (found.phi.vocab_size, found.seg_token_id, found.eos_token_id) == (1024, 1023, 1022)


def test_a_damaged_file_is_named(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        pretrained.load_pretrained(tmp_path, "cpu")


def test_missing_tokenizer_is_named(saved: Path, tmp_path: Path) -> None:
    for name in ("config.json", checkpoint.WEIGHTS_FILE):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        pretrained.load_pretrained(tmp_path, "cpu")


def test_config_round_trip_and_refusals() -> None:
    for preset in (config.make_base_config(), config.make_tiny_config()):
        text = json.dumps(preset.to_dict())
        assert config.SegEarthConfig.from_dict(json.loads(text)) == preset
    with pytest.raises(ConfigError, match="window"):
        config.SegEarthConfig.from_dict({**config.make_tiny_config().to_dict(), "window": 3})
    with pytest.raises(ConfigError, match="format"):
        config.SegEarthConfig.from_dict({"model_type": "phi"})
    with pytest.raises(ConfigError, match="image_size=100"):
        config.SegEarthConfig(image_size=100)
