"""A run that is stopped and resumed equals one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segwatch.model import tokenizer
from segwatch.model.config import tiny
from segwatch.model.errors import CheckpointError
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import batches, instructions, pixels, scenes, words
from segwatch.model.train.loop import Progress, TrainConfig, Trainer, learning_rate

CONFIG = TrainConfig(steps=4, images=1, pairs_per_image=2, num_points=64, coarse_share=1.0, warmup_steps=2)


@pytest.fixture(scope="module")
def material() -> batches.Material:
    return batches.Material([scenes.make(seed, 64) for seed in (0, 3, 4)], [], 0.0)


def trainer(material: batches.Material, config: TrainConfig = CONFIG) -> Trainer:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Trainer(SegEarthR2(tiny()), tokenizer.train_small(instructions.corpus()[:50]), material, config)


def test_resuming_changes_nothing(material: batches.Material, tmp_path: Path) -> None:
    whole = trainer(material)
    whole.run(tmp_path / "whole")
    first = trainer(material)
    first.step()
    first.step()
    first.save(tmp_path / "part")
    second = trainer(material)
    second.resume(tmp_path / "part")
    second.run(tmp_path / "part")
    assert second.progress.step == whole.progress.step == 4
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_another_seeds_state_is_refused(material: batches.Material, tmp_path: Path) -> None:
    run = trainer(material)
    run.save(tmp_path)
    with pytest.raises(CheckpointError, match="seed 7"):
        trainer(material, TrainConfig(seed=8)).resume(tmp_path)
    with pytest.raises(CheckpointError, match="without --resume"):
        run.resume(tmp_path / "nothing")


def test_learning_rate_warms_up_and_falls() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(config, Progress(step)) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == max(rates[8:12])
    assert rates[-1] < 0.03


def test_the_clock_moves_the_schedule_where_it_is_ahead() -> None:
    config = TrainConfig(steps=100, minutes=1.0)
    assert Progress(10, 30.0).share(config) == 0.5
    assert Progress(60, 30.0).share(config) == 0.6


def test_the_first_stages_learn_and_repeat(material: batches.Material) -> None:
    def stages() -> tuple[torch.Tensor, list[float]]:
        torch.manual_seed(0)
        model = SegEarthR2(tiny())
        queries = pixels.train(model, material, pixels.PixelsConfig(steps=2, images=2, num_points=64))
        made = tokenizer.train_small(instructions.corpus()[:50])
        return queries, words.train(model, made, queries, words.WordsConfig(steps=6, pairs=4, warmup_steps=1))

    queries, losses = stages()
    assert queries.shape == (len(scenes.TARGETS), tiny().mask.width)
    assert losses[-1] < losses[0]
    again, repeated = stages()
    assert torch.equal(queries, again)
    assert losses == repeated
