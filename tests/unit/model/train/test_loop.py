"""A run that is killed and repeated, or spread over processes, equals one that is not."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from typer.testing import CliRunner

from segwatch.flows.cli import app
from segwatch.model import checkpoint, pretrained, prompt, tokenizer
from segwatch.model.config import make_tiny_config
from segwatch.model.errors import CheckpointError, ConfigError, DatasetError
from segwatch.model.predictor import Predictor
from segwatch.model.referring.samples import ReferringSample
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import batches, instructions, lora, pixel_stage, scenes, text_stage
from segwatch.model.train.config import Lora, Mix, Optimizer, TrainConfig, load_config
from segwatch.model.train.loop import (
    LOSSES_FILE,
    STATE_FILE,
    Progress,
    Trainer,
    compute_learning_rate,
    make_accelerator,
)
from segwatch.model.train.run import run_training
from tests.support.paths import ROOT

RECIPES = ROOT / "model" / "train" / "recipes"


@pytest.fixture(autouse=True)
def _no_shared_state() -> None:
    """accelerate keeps precision and device for a process; these tests change them."""
    AcceleratorState._reset_state(reset_partial_state=True)


def config(folder: Path, **changes: Any) -> TrainConfig:
    """A run of seconds."""
    values: dict[str, Any] = {
        "data": {"root": "nowhere", "scenes": 3, "scene_px": 64, "real_share": 0},
        "optimizer": {
            "steps": 4, "images": 1, "pairs_per_image": 2, "learning_rate": 1e-3, "warmup_steps": 2,
            "coarse_share": 1.0,
        },
        "loss": {"points": 64},
        "run": {"out": str(folder / "out"), "state": str(folder / "state"), "device": "cpu", "threads": 1},
    }  # fmt: skip
    for name, value in changes.items():
        section, _, field = name.partition("__")
        if field:
            values.setdefault(section, {})[field] = value
        else:
            values[section] = value
    return TrainConfig.model_validate(values)


def curve(folder: Path) -> list[dict[str, float]]:
    rows = (folder / "state" / LOSSES_FILE).read_text().splitlines()
    return [json.loads(row) for row in rows]


@pytest.fixture(scope="module")
def material() -> batches.SceneSource:
    return batches.SceneSource([scenes.make_scene(seed, 64) for seed in (0, 3, 4)], [], 0.0, Mix())


def _trainer(material: batches.InstructionSource, chosen: TrainConfig) -> Trainer:
    torch.manual_seed(0)
    made = tokenizer.train_tokenizer(instructions.list_phrases(scenes.TARGETS)[:50])
    model = SegEarthR2(make_tiny_config())
    if chosen.lora is not None:
        lora.add_adapters(model, chosen.lora)
    return Trainer(model, made, material, chosen, make_accelerator(chosen))


@pytest.mark.parametrize("adapters", [None, {"rank": 2, "dropout": 0.3}])
def test_resuming_changes_nothing(
    material: batches.SceneSource, tmp_path: Path, adapters: dict[str, Any] | None
) -> None:
    one, two = (config(tmp_path / name, lora=adapters) for name in ("one", "two"))
    whole = _trainer(material, one)
    whole.run()
    first = _trainer(material, two)
    first._record(first.step())
    first._record(first.step())
    first.save()
    first._record(first.step())  # a step that is lost with the process
    second = _trainer(material, two)
    second.resume()
    second.run()
    assert second.progress.step == whole.progress.step == 4
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert curve(tmp_path / "one") == curve(tmp_path / "two")


def test_a_run_of_limited_time_is_saved_and_goes_on(material: batches.SceneSource, tmp_path: Path) -> None:
    """A rented machine is there for minutes."""
    limited, whole = config(tmp_path / "some", run__stop_after_minutes=1e-9), config(tmp_path / "whole")
    written: list[int] = []
    for expected in (1, 2):
        some = _trainer(material, limited)
        if expected > 1:
            some.resume()
        some.run(lambda run, weights: written.append(run.progress.step))
        assert some.progress.step == expected
    assert written == [1, 2]
    _trainer(material, whole).run()
    assert curve(tmp_path / "some") == curve(tmp_path / "whole")[:2]


def _command(folder: Path, *changes: str) -> list[str]:
    file = folder / "run.toml"
    file.write_text(
        f"""
        [data]
        root = "nowhere"
        scenes = 3
        scene_px = 64
        real_share = 0
        [optimizer]
        steps = 8
        images = 1
        pairs_per_image = 2
        coarse_share = 1.0
        [loss]
        points = 64
        [run]
        out = "{folder / "out"}"
        state = "{folder / "state"}"
        device = "cpu"
        threads = 1
        checkpoint_minutes = 0.0001
        """
    )
    return ["-m", "segwatch.flows.cli", "model", "train", str(file), *(f"--set={one}" for one in changes)]


def test_a_killed_run_resumes_without_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    _command(tmp_path / "whole")
    run_training(load_config(tmp_path / "whole" / "run.toml"))
    running = subprocess.Popen(
        [sys.executable, *_command(tmp_path / "killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    losses = tmp_path / "killed" / "state" / LOSSES_FILE
    while not losses.exists() or len(losses.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        assert running.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert len(curve(tmp_path / "killed")) < 8
    AcceleratorState._reset_state(reset_partial_state=True)
    with caplog.at_level(logging.INFO):
        run_training(load_config(tmp_path / "killed" / "run.toml"))
    assert "going on after step" in caplog.text
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    states = [
        dict(checkpoint.read_tensors(file, checkpoint.read_shapes([file])))
        for name in ("whole", "killed")
        for file in checkpoint.list_weight_files(tmp_path / name / "out")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


_CLOCKS = """
import os, time
from segwatch.flows.cli import app
from segwatch.model.train import loop
true, pace = time.monotonic, 1 + 2 * int(os.environ["RANK"])
loop.time = type("Fast", (), {"monotonic": staticmethod(lambda: true() * pace)})
app()
"""


def test_two_processes_learn_what_two_passes_learn_and_save_together(tmp_path: Path) -> None:
    """One process's clock runs three times as fast as the other's."""
    for name in ("passes", "processes"):
        (tmp_path / name).mkdir()
    _command(tmp_path / "passes")
    shorter = ["optimizer.steps=3", "optimizer.decay_steps=12", "optimizer.accumulate=2"]
    run_training(load_config(tmp_path / "passes" / "run.toml", shorter))
    clocks = tmp_path / "clocks.py"
    clocks.write_text(_CLOCKS)
    command = _command(tmp_path / "processes", "run.checkpoint_minutes=0.002", "optimizer.steps=12")[2:]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(clocks)]
    done = subprocess.run(
        [sys.executable, *launch, *command], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(curve(tmp_path / "processes")) == 12
    for ours, theirs in zip(curve(tmp_path / "passes"), curve(tmp_path / "processes")[:3], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_another_runs_state_is_refused(material: batches.SceneSource, tmp_path: Path) -> None:
    run = _trainer(material, config(tmp_path))
    run.save()
    with pytest.raises(CheckpointError, match="another loss, seed"):
        _trainer(material, config(tmp_path, run__seed=8, loss__attention=0.0)).resume()
    with pytest.raises(CheckpointError, match="start a new run"):
        _trainer(material, config(tmp_path / "nothing")).resume()
    # as many passes a step as before may be made by other processes, not more
    with pytest.raises(CheckpointError, match="another passes"):
        _trainer(material, config(tmp_path, optimizer__accumulate=2)).resume()


def test_adapters_are_saved_without_what_they_adapt(tmp_path: Path) -> None:
    run_training(config(tmp_path / "first", optimizer__steps=1))
    AcceleratorState._reset_state(reset_partial_state=True)
    changes: dict[str, Any] = {
        "lora": {"rank": 2, "dropout": 0.3},
        "start": {"checkpoint": str(tmp_path / "first" / "out")},
        "optimizer__steps": 3,
    }
    whole = run_training(config(tmp_path / "whole", **changes))
    kept = torch.load(tmp_path / "whole" / "state" / STATE_FILE, weights_only=True)["model"]
    assert not any(name.startswith("vision_tower.") or "base_layer" in name for name in kept)
    assert any("lora_A" in name for name in kept)
    AcceleratorState._reset_state(reset_partial_state=True)
    stopped = config(tmp_path / "cut", **changes, run__checkpoint_minutes=1e-9)

    def dies(run: Trainer, weights: dict[str, torch.Tensor]) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("segwatch.model.train.run._write", dies)
        run_training(stopped)
    AcceleratorState._reset_state(reset_partial_state=True)
    again = run_training(stopped).model.state_dict()
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again[name]), name


def test_a_folder_with_another_models_weights_is_unchanged(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model-00001-of-00002.safetensors").write_bytes(b"of another model")
    with pytest.raises(CheckpointError, match=r"weights of another model .*give a new folder"):
        run_training(config(tmp_path, optimizer__steps=1))
    assert [file.name for file in out.iterdir()] == ["model-00001-of-00002.safetensors"]


def test_an_image_without_usable_targets_is_redrawn() -> None:
    """A target on a tiny share of the image counts neither as present nor as absent."""
    meadow = np.full((64, 64, 3), 90, np.uint8)
    nothing = scenes.Scene(meadow, {}, ())
    water = scenes.Scene(meadow, {"water": np.ones((64, 64), np.bool_)}, ())
    mixed = batches.SceneSource([nothing, nothing, water], [], 0.0, Mix(balanced=False))
    assert all(mixed.draw_image(np.random.default_rng(seed), 1).pairs for seed in range(20))
    with pytest.raises(DatasetError, match="no target that is certainly present"):
        batches.SceneSource([nothing], [], 0.0, Mix(balanced=False)).draw_image(np.random.default_rng(0), 1)


def test_a_fresh_run_discards_the_old_state(tmp_path: Path) -> None:
    run_training(config(tmp_path, optimizer__steps=1))
    with pytest.raises(CheckpointError, match="another optimizer"):
        run_training(config(tmp_path, optimizer__steps=2))
    run_training(config(tmp_path, optimizer__steps=2), fresh=True)
    assert [row["step"] for row in curve(tmp_path)] == [1, 2]
    assert Predictor.load(tmp_path / "out", "cpu").name == "segearth-r2-tiny"


def test_a_stage_continues_from_the_one_before(tmp_path: Path) -> None:
    first, second, last = (
        load_config(RECIPES / f"{name}.toml") for name in ("tiny-first", "tiny-second", "tiny")
    )
    assert second.start.checkpoint == first.run.out
    assert last.start.checkpoint == second.run.out
    few = {"targets": ["water", "forest"], "gsd_m": [10], "root": "nowhere", "scenes": 3, "scene_px": 64}
    run_training(config(tmp_path / "first", data={**few, "real_share": 0}, optimizer__steps=1))
    begun = pretrained.load_pretrained(tmp_path / "first" / "out", "cpu")
    run_training(
        config(
            tmp_path / "second",
            start={"checkpoint": str(tmp_path / "first" / "out")},
            optimizer__steps=1,
            optimizer__learning_rate=1e-9,
        )
    )
    ended = pretrained.load_pretrained(tmp_path / "second" / "out", "cpu")
    assert ended.tokenizer.get_vocab() == begun.tokenizer.get_vocab()
    torch.testing.assert_close(ended.model.state_dict(), begun.model.state_dict(), atol=1e-7, rtol=0)


def test_written_weights_may_keep_a_share_of_the_start(tmp_path: Path) -> None:
    run_training(config(tmp_path / "first", optimizer__steps=1))
    start = tmp_path / "first" / "out"
    changes = {"start": {"checkpoint": str(start)}, "optimizer__learning_rate": 0.01}
    run = run_training(config(tmp_path / "second", run__start_share=0.25, **changes))
    begun, written = (
        pretrained.load_pretrained(folder, "cpu").model.state_dict()
        for folder in (start, tmp_path / "second" / "out")
    )
    ended = run.model.state_dict()
    assert any(not torch.equal(ended[name], begun[name]) for name in begun)
    for name, value in written.items():
        torch.testing.assert_close(value, 0.25 * begun[name] + 0.75 * ended[name])
    with pytest.raises(ConfigError, match=r"run\.start_share mixes with start\.checkpoint"):
        load_config(RECIPES / "tiny-first.toml", ["run.start_share=0.5"])


def test_learning_rate_warms_up_and_falls() -> None:
    pace = Optimizer(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [compute_learning_rate(pace, Progress(step)) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == max(rates[8:12])
    assert rates[-1] < 0.03


def test_a_run_may_end_before_its_learning_rate_does() -> None:
    whole = Optimizer(steps=100, warmup_steps=10, learning_rate=1.0)
    cut = Optimizer(steps=60, decay_steps=100, warmup_steps=10, learning_rate=1.0)
    for step in range(60):
        assert compute_learning_rate(cut, Progress(step)) == compute_learning_rate(whole, Progress(step))


def test_adapters_learn_alone_and_merge_into_plain_weights(
    material: batches.SceneSource, tmp_path: Path
) -> None:
    run = _trainer(material, config(tmp_path, lora={"rank": 2}, optimizer__learning_rate=0.05))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.step()
    run.step()
    run.model.eval()
    after = run.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.endswith(("base_layer.weight", "base_layer.bias")) for name in changed)
    assert not any(name.startswith("vision_tower.") for name in changed)
    for part in (
        "lora_A",
        "lora_B",
        "embed_tokens",
        "lm_head",
        "projector.",
        "mask_decoder.",
        "mask_encoder.",
    ):
        assert any(part in name for name in changed), part
    pretrained.save_pretrained(
        run.model, run.tokenizer, tmp_path / "merged", state=lora.merge_adapters(run.model)
    )
    plain = pretrained.load_pretrained(tmp_path / "merged", "cpu").model
    embeds = torch.randn(1, 9, make_tiny_config().phi.hidden_size)
    with torch.inference_mode():
        torch.testing.assert_close(
            plain.language(embeds)[0], run.model.language(embeds)[0], atol=1e-5, rtol=1e-4
        )


def test_half_precision_follows_full_precision(material: batches.SceneSource, tmp_path: Path) -> None:
    full = _trainer(material, config(tmp_path)).step()
    AcceleratorState._reset_state(reset_partial_state=True)
    half = _trainer(material, config(tmp_path, run__precision="bf16")).step()
    assert half["total"] == pytest.approx(full["total"], rel=0.05)
    assert half != full


def test_a_public_data_set_can_be_trained_on(tmp_path: Path) -> None:
    from PIL import Image

    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(picture)
    mask = np.zeros((48, 48), np.bool_)
    mask[8:30, 8:30] = True
    shown = [
        ReferringSample("1", picture, "the lake", lambda: [mask]),
        ReferringSample("2", picture, "the road", list, prompt.NOTHING),
    ]
    losses = _trainer(batches.ReferringSource(shown), config(tmp_path)).step()
    assert all(np.isfinite(value) for value in losses.values())
    lost = ReferringSample("3", tmp_path / "lost.png", "the lake", lambda: [mask])
    mixed = batches.ReferringSource([*shown, lost])
    assert all(mixed.draw_image(np.random.default_rng(seed), 1).pairs for seed in range(20))
    broken = batches.ReferringSource([ReferringSample("1", picture, "the lake", lambda: [mask[:3]])])
    with pytest.raises(DatasetError, match=r"in a row cannot be used.*do not fit answer or image"):
        broken.draw_image(np.random.default_rng(0), 1)


def test_an_invalid_recipe_is_explained(tmp_path: Path) -> None:
    recipe = RECIPES / "tiny-first.toml"
    assert load_config(recipe).optimizer.steps == 2400
    changed = load_config(recipe, ["loss.attention=0", "run.out=here", "lora.rank=2"])
    assert (changed.loss.attention, changed.run.out, changed.lora) == (0.0, Path("here"), Lora(rank=2))
    for change, message in (
        ("optimizer.steps=0", r"optimizer\.steps: .*greater than or equal to 1, got 0"),
        ("data.gsd_m=[7]", r"data\.gsd_m\.0: Input should be 5, 10 or 20, got 7"),
        ('data.targets=["sea"]', r"data\.targets\.0: Input should be 'water'.* got 'sea'"),
        ("optimizer.stepz=1", r"optimizer\.stepz: Extra inputs are not permitted"),
        ("data.kind=lasers", r"data\.kind=lasers needs start\.checkpoint"),
        ("steps=3", "not of the form section.field=value"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(recipe, [change])
    with pytest.raises(ConfigError, match=r"need simulated scenes; leave them out, or data\.kind=lasers"):
        load_config(recipe, ["data.kind=lasers", "start.checkpoint=x"])
    (tmp_path / "bad.toml").write_text("[data\n")
    result = CliRunner().invoke(app, ["model", "train", str(tmp_path / "bad.toml")])
    assert result.exit_code == 1
    assert "not a readable TOML file" in result.stderr


@pytest.mark.parametrize("empty", [0.0, 0.5])
def test_pixels_learn_empty_masks_where_the_mix_has_them(empty: float) -> None:
    meadow = scenes.Scene(np.full((64, 64, 3), 90, np.uint8), {}, ("water", "road"))
    material = batches.SceneSource([meadow], [], 0.0, Mix(empty=empty))
    torch.manual_seed(0)
    model = SegEarthR2(make_tiny_config())
    before = {name: value.clone() for name, value in model.mask_decoder.state_dict().items()}
    stage = pixel_stage.PixelStageConfig(steps=1, images=1, num_points=64)
    pixel_stage.train_pixel_stage(model, material, ["water", "road", "bare"], stage)
    after = model.mask_decoder.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before) == (empty > 0)


def test_a_second_stage_begins_with_the_queries_of_the_first(material: batches.SceneSource) -> None:
    torch.manual_seed(0)
    model = SegEarthR2(make_tiny_config())
    made = tokenizer.train_tokenizer(instructions.list_phrases(scenes.TARGETS)[:50])
    known = text_stage.compute_queries(model, made, scenes.TARGETS)
    assert known.shape == (len(scenes.TARGETS), make_tiny_config().mask.width)
    kept = pixel_stage.train_pixel_stage(
        model, material, scenes.TARGETS, pixel_stage.PixelStageConfig(steps=0), known
    )
    assert torch.equal(kept, known)
    wanted = known - 2.0
    text_stage.train_text_stage(
        model, made, scenes.TARGETS, wanted, Mix(), text_stage.TextStageConfig(steps=12, pairs=8)
    )
    now = text_stage.compute_queries(model, made, scenes.TARGETS)
    assert (now - wanted).square().mean() < (known - wanted).square().mean()


def test_the_first_stages_learn_and_repeat(material: batches.SceneSource) -> None:
    def stages() -> tuple[torch.Tensor, list[float]]:
        torch.manual_seed(0)
        model = SegEarthR2(make_tiny_config())
        stage = pixel_stage.PixelStageConfig(steps=2, images=2, num_points=64)
        queries = pixel_stage.train_pixel_stage(model, material, scenes.TARGETS, stage)
        made = tokenizer.train_tokenizer(instructions.list_phrases(scenes.TARGETS)[:50])
        names = text_stage.TextStageConfig(steps=6, pairs=4, warmup_steps=1)
        return queries, text_stage.train_text_stage(model, made, scenes.TARGETS, queries, Mix(), names)

    queries, losses = stages()
    assert queries.shape == (len(scenes.TARGETS), make_tiny_config().mask.width)
    assert losses[-1] < losses[0]
    again, repeated = stages()
    assert torch.equal(queries, again)
    assert losses == repeated
