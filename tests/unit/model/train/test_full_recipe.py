"""The recipe of the full-size model, on the small one: what it trains, how it merges, and what it is said to cost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from pycocotools import mask as coco
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from segwatch.benchmarks import model as benchmark
from segwatch.flows.cli import app
from segwatch.model import checkpoint, config, model_version, pretrained
from segwatch.model.errors import ConfigError
from segwatch.model.predictor import Predictor
from segwatch.model.referring import layouts
from segwatch.model.train import batches, lora, planning
from segwatch.model.train import run as training
from segwatch.model.train.config import TrainConfig, load_config
from segwatch.model.train.loop import LOSSES_FILE, STATE_FILE, Trainer, TrainingObjective
from segwatch.model.train.run import run_training
from tests.support.paths import ROOT

RECIPE = ROOT / "model" / "train" / "recipes" / "full.toml"
TRAINED = ("lm_head.", "pixel_decoder.", "SEG_token_projector.", "predictor.")


@pytest.fixture(autouse=True)
def _no_shared_state() -> None:
    """accelerate keeps precision and device for a process; these tests change them."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def lasers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures in the layout of LaSeRS; the second lacks what is asked for."""
    root = tmp_path_factory.mktemp("lasers")
    (root / "train" / "images").mkdir(parents=True)
    (root / "train" / "annotations").mkdir()
    mask = np.zeros((48, 48), np.uint8, order="F")
    mask[8:30, 8:30] = 1
    coded = coco.encode(mask)
    coded = {"size": list(coded["size"]), "counts": coded["counts"].decode()}
    for name, seed in (("a", 0), ("b", 1)):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "train" / "images" / f"{name}.png")
    entries = [
        {"id": 1, "image_name": "a.png", "description": "the lake", "answer": "Sure, it is [SEG].", "mask": [coded]},
        {"id": 2, "image_name": "b.png", "description": "a road", "answer": "There is no target object in the image.",
         "mask": []},
    ]  # fmt: skip
    (root / "train" / "annotations" / "train.json").write_text(json.dumps(entries))
    return root


def _changes(folder: Path, data: Path, *more: str) -> list[str]:
    """A run of seconds of the recipe, with the shipped model as its start and two of the data sets."""
    return [
        f"start.checkpoint={model_version.SHIPPED_MODEL}",
        f"data.root={data}",
        f'data.more=[{{kind="lasers", root="{data}"}}]',
        "optimizer.steps=3",
        "optimizer.accumulate=2",
        "optimizer.warmup_steps=1",
        "optimizer.learning_rate=0.01",
        "loss.points=64",
        "run.device=cpu",
        "run.threads=1",
        "run.store=float32",
        f"run.out={folder / 'out'}",
        f"run.state={folder / 'state'}",
        *more,
    ]


def _load(folder: Path, data: Path, *more: str) -> TrainConfig:
    return load_config(RECIPE, _changes(folder, data, *more))


def _curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(row) for row in (folder / "state" / LOSSES_FILE).read_text().splitlines()]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    files = checkpoint.list_weight_files(folder)
    return {
        key: value
        for file in files
        for key, value in checkpoint.read_tensors(file, checkpoint.read_shapes([file]))
    }


def test_the_merged_model_is_the_trained_one(
    lasers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoder, query projector and head are trained beside the adapters, and a merge of these alone would lose them."""
    whole = run_training(_load(tmp_path / "whole", lasers))
    begun, ended = _weights(model_version.SHIPPED_MODEL), _weights(tmp_path / "whole" / "out")
    changed = {key for key in begun if not torch.equal(begun[key].float(), ended[key])}
    adapted = {key for key in begun if key.endswith(("self_attn.q_proj.weight", "self_attn.v_proj.weight"))}
    frozen = changed - adapted - {key for key in begun if key.startswith(TRAINED)}
    # frozen weights of the language half are kept in bfloat16, and otherwise as they were
    for key in frozen:
        assert torch.equal(begun[key].to(torch.bfloat16).float(), ended[key]), key
    assert not any(key.startswith("model.vision_tower_mask.") for key in changed)
    assert adapted <= changed
    assert all(any(key.startswith(part) for key in changed) for part in TRAINED)

    unmerged = whole.model.float().eval()
    image = np.random.default_rng(3).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    asked = ["segment the lake", "where are the roads?"]
    before = Predictor(unmerged, whole.tokenizer, "unmerged", max_new_tokens=6)
    after = Predictor.load(tmp_path / "whole" / "out", "cpu", max_new_tokens=6)
    embeds = torch.randn(1, 9, after._model.config.phi.hidden_size)
    with torch.inference_mode():
        torch.testing.assert_close(
            after._model.language(embeds)[0], unmerged.language(embeds)[0], atol=1e-4, rtol=1e-4
        )
        pixels = after._model.pixel_features(torch.randn(1, 3, 64, 64))
        queries = torch.randn(2, after._model.config.mask.width)
        torch.testing.assert_close(
            after._model.decode(pixels, queries, [2]),
            unmerged.decode(pixels, queries, [2]),
            atol=1e-4,
            rtol=1e-4,
        )
    for one, other in zip(before.segment([image], asked)[0], after.segment([image], asked)[0], strict=True):
        assert one.text == other.text
        np.testing.assert_allclose(one.mask_logits, other.mask_logits, atol=1e-3)

    def dies(run: Trainer, weights: Any) -> None:
        raise KeyboardInterrupt

    cut = _load(tmp_path / "cut", lasers, "run.checkpoint_minutes=1e-9")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_write", dies)
        run_training(cut)
    AcceleratorState._reset_state(reset_partial_state=True)
    run_training(cut)
    assert _curve(tmp_path / "cut") == _curve(tmp_path / "whole")
    again = _weights(tmp_path / "cut" / "out")
    assert all(torch.equal(ended[key], again[key]) for key in ended)


#: The command, and the command again on what it wrote; the state in between is copied.
_TWICE = """
import os, shutil, sys
from accelerate.state import AcceleratorState
from segwatch.flows.cli import app
folder = sys.argv.pop(1)
app(standalone_mode=False)
if os.environ["RANK"] == "0":
    shutil.copytree(folder, folder + "-once")
AcceleratorState._reset_state(reset_partial_state=True)
app(standalone_mode=False)
"""


def test_spread_processes_learn_what_one_learns_and_resume(lasers: Path, tmp_path: Path) -> None:
    slower = "optimizer.learning_rate=1e-3"
    run_training(_load(tmp_path / "one", lasers, slower))
    changes = _changes(tmp_path / "spread", lasers, slower, "run.shard=true", "optimizer.accumulate=1")
    twice = tmp_path / "twice.py"
    twice.write_text(_TWICE)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *(str(twice), str(tmp_path / "spread"), "model", "train", str(RECIPE)),
        *(f"--set={change}" for change in changes),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    once, again = tmp_path / "spread-once", tmp_path / "spread"
    for ours, theirs in zip(_curve(once), _curve(tmp_path / "one"), strict=True):
        # in bfloat16, the logarithm of small attention weights differs more than anything that is learned
        if ours["step"] > 1:
            del ours["attention"], theirs["attention"]
        assert ours == pytest.approx(theirs, rel=0.02)
    written, expected = (_weights(folder / "out") for folder in (once, tmp_path / "one"))
    start = _weights(model_version.SHIPPED_MODEL)
    for key, value in expected.items():
        moved = (value - start[key].float()).abs().mean()
        assert (written[key] - value).abs().mean() <= 0.2 * moved + 1e-6, key
    saved = torch.load(once / "state" / STATE_FILE, weights_only=True)
    frozen = [name for name in saved["model"] if "base_layer" in name or name.startswith("mask_encoder.")]
    assert not [name for name in frozen if name.endswith((".weight", ".bias"))], (
        "statistics of norms may be there"
    )
    assert "going on after step 3 of 3" in done.stderr
    loaded = torch.load(again / "state" / STATE_FILE, weights_only=True)
    torch.testing.assert_close(loaded["model"], saved["model"], atol=0, rtol=0)
    torch.testing.assert_close(loaded["optimizer"]["state"], saved["optimizer"]["state"], atol=0, rtol=0)
    torch.testing.assert_close(_weights(again / "out"), written, atol=0, rtol=0)


def test_invalid_mixes_are_explained(lasers: Path, tmp_path: Path) -> None:
    for change, message in (
        ("run.precision=no", r"lora\.frozen=bfloat16 needs run\.precision=bf16, and it is no"),
        ("data.kind=made", r"data\.more adds public data sets to a public one"),
        ("lora.layers=[]", r"lora\.layers"),
        ('lora.whole=["head"]', r"lora\.whole\.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(RECIPE, [change])
    with pytest.raises(ConfigError, match=r"run\.shard=true needs several processes.*torchrun"):
        run_training(_load(tmp_path, lasers, "run.shard=true"))


def test_states_of_earlier_releases_still_fit() -> None:
    """They lack the settings that came later, whose defaults are what these runs did."""
    chosen = load_config(ROOT / "model" / "train" / "recipes" / "default-instruct.toml")
    earlier = chosen.learned()
    del earlier["shard"], earlier["data"]["more"], earlier["data"]["share"]
    del earlier["lora"]["layers"], earlier["lora"]["whole"], earlier["lora"]["frozen"]
    assert chosen.complete(earlier) == chosen.learned()
    assert chosen.complete({**earlier, "seed": 1}) != chosen.learned()


def test_a_plan_counts_what_a_step_does(lasers: Path, tmp_path: Path) -> None:
    """Operations on "meta" against those of a real pass with as many tokens and targets."""
    chosen = _load(tmp_path, lasers)
    loaded = pretrained.load_pretrained(model_version.SHIPPED_MODEL, "cpu")
    assert chosen.lora is not None
    model = loaded.model.train()
    lora.add_adapters(model, chosen.lora)
    source = batches.ReferringSource(layouts.load_samples(layouts.Dataset.LASERS, lasers, "train"))
    batch = next(
        made
        for step in range(20)
        if len(
            (
                made := batches.build_batch(
                    source,
                    loaded.tokenizer,
                    model.config,
                    seed=1,
                    step=step,
                    images=1,
                    pairs_per_image=1,
                    size=256,
                )
            ).masks
        )
    )
    tokens = (
        len(batch.ids[0].input_ids)
        - 1
        + len(batch.ids[0].refer_ids) * int((batch.ids[0].input_ids == -204).any())
    )
    given = planning.Assumptions(text_tokens=tokens, targets=1)
    objective = TrainingObjective(model)
    # torch does not count attention as it is fused on a CPU
    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: benchmark._attention_flops}
    with (
        FlopCounterMode(display=False, custom_mapping=fused) as forward,
        torch.autocast("cpu", torch.bfloat16),
    ):
        total = torch.stack([one.float() for one in objective(batch, 64, 1).values()]).sum()
    with FlopCounterMode(display=False) as backward:
        total.backward()  # type: ignore[no-untyped-call]
    counted = planning.plan_training(chosen, (1, 2), given)
    assert counted.cost.forward_flops == pytest.approx(forward.get_total_flops(), rel=0.05)
    assert counted.cost.backward_flops == pytest.approx(backward.get_total_flops(), rel=0.2)
    alone, both = counted.gpus
    assert (alone.accumulate, both.accumulate) == (2, 1)
    assert both.total_gib - alone.total_gib == pytest.approx(alone.gradients_gib)
    assert both.hours < alone.hours < both.gpu_hours * 1.001
    spread = planning.plan_training(_load(tmp_path, lasers, "run.shard=true"), (2,), given).gpus[0]
    assert spread.optimizer_gib <= both.optimizer_gib
    with pytest.raises(ConfigError, match="3 GPUs do not divide the 2 passes"):
        planning.plan_training(chosen, (3,), given)


def test_the_full_size_is_counted_without_weights() -> None:
    """The released recipe trains head, decoders and query projector, and adapters on two layers of each block."""
    chosen = load_config(RECIPE)
    model = planning.build_model(config.make_base_config(), chosen)
    by_part: dict[str, int] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            part = (
                "adapters"
                if "lora_" in name
                else ".".join(name.split(".")[: 2 if name.startswith("lang") else 1])
            )
            by_part[part] = by_part.get(part, 0) + value.numel()
    assert set(by_part) == {
        "adapters",
        "language.lm_head",
        "pixel_decoder",
        "query_projector",
        "mask_decoder",
    }
    assert by_part["adapters"] == 32 * 2 * 4 * (2560 + 2560)
    assert by_part["language.lm_head"] == 51200 * 2560


def test_the_plan_is_told(lasers: Path, tmp_path: Path) -> None:
    changes = [part for change in _changes(tmp_path, lasers) for part in ("--set", change)]
    done = CliRunner().invoke(app, ["model", "plan", str(RECIPE), *changes, "--gpus", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["gpus"][0]["accumulate"] == 2
    shown = CliRunner().invoke(app, ["model", "plan", str(RECIPE), *changes, "--gpus", "2"])
    assert "assumed, not measured: 20% of 989 TFLOP/s" in " ".join(shown.output.split())
