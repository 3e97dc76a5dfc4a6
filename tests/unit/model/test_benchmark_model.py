"""The benchmark compares like with like: same answers, and less work when it is shared."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from segwatch.benchmarks import cli, machine
from segwatch.benchmarks import model as benchmark
from segwatch.model import prompt
from segwatch.model.config import PhiDims
from segwatch.model.predictor import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    dims = benchmark.make_small_config()
    least = replace(
        dims,
        phi=PhiDims(1024, 64, 128, 2, 4, 0.5, 2048),
        siglip=replace(dims.siglip, hidden_size=48, intermediate_size=96, num_layers=3, image_size=112),
        mask=replace(dims.mask, width=32, num_heads=4, encoder_layers=1, decoder_layers=2),
        image_size=128,
    )
    model, words = benchmark._make_talking_model(least, torch.device("cpu"), torch.float32)
    return Predictor(model, words, "least@random")


def test_random_weights_generate_the_timed_text(predictor: Predictor) -> None:
    image = benchmark._image(128)
    result = benchmark._compared(predictor, image, benchmark._questions(5), repeats=1)
    assert result.texts_equal
    assert result.masks_equal == 1.0
    text, masks = benchmark._predict_alone(predictor, image, benchmark._questions(5)[3])
    assert text == "Sure, it is [SEG]."
    assert masks.shape == (1, 128, 128)


def test_shared_work_is_less_work(predictor: Predictor) -> None:
    image, asked = benchmark._image(128), benchmark._questions(8)
    shared = benchmark._flops(lambda: predictor.segment([image], asked))
    alone = benchmark._flops(lambda: [benchmark._predict_alone(predictor, image, one) for one in asked])
    assert alone > 3 * shared
    stages = benchmark._stages(predictor, image, asked)
    assert list(stages) == ["language view", "shared prompt", "mask view", "words", "masks"]
    assert all(seconds > 0 for seconds in stages.values())


def test_counted_operations_equal_executed_ones(predictor: Predictor) -> None:
    image, asked = benchmark._image(128), benchmark._questions(8)
    counted = benchmark._counted(predictor._model.config, (1, 8))
    shared = benchmark._flops(lambda: predictor.segment([image], asked))
    alone = benchmark._flops(lambda: [benchmark._predict_alone(predictor, image, one) for one in asked])
    assert counted[8].shared == pytest.approx(shared, rel=0.02)
    assert counted[8].alone == pytest.approx(alone, rel=0.02)
    assert counted[1].gain == 1.0


def test_most_of_the_prompt_is_shared(predictor: Predictor) -> None:
    ids = prompt.tokenize_prompt(predictor._tokenizer, benchmark._questions(1)[0])
    assert len(predictor._prefix_ids) > 0.6 * len(ids)


def test_the_last_line_is_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "run", lambda *, quick, device: {"quick": quick, "device": device})
    cli.main(["model", "--quick", "--device", "cpu"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"quick": True, "device": "cpu"}


def test_a_peak_is_measured() -> None:
    top = machine.peak(torch.device("cpu"), torch.float32)
    assert top.flops > 1e8
    assert top.bytes_per_second > 1e7
