"""Many instructions and many images at once: same answers, bounded memory, nothing lost when it runs out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from segwatch.benchmarks import model as benchmark
from segwatch.model import config, gpu_memory, pretrained, processor, prompt, text_generation, tokenizer
from segwatch.model.errors import InputError
from segwatch.model.predictor import Prediction, Predictor
from segwatch.model.segearth import SegEarthR2
from segwatch.model.text_generation import GeneratedText, Sampling
from tests.support.live_bytes import LiveBytes

QUESTIONS = ("segment the water", "Which of all these roads are flooded, please?", "all buildings", "fields")


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return tokenizer.train_tokenizer(["segment the water", "find the buildings", "Sure, it is [SEG]."])


@pytest.fixture(scope="module")
def model() -> SegEarthR2:
    """Random weights whose head is tilted so that some tokens, but not all, are [SEG]."""
    torch.manual_seed(3)
    made = SegEarthR2(config.make_tiny_config())
    with torch.no_grad():
        made.language.lm_head.weight[made.config.seg_token_id].mul_(4.0)
    return made


@pytest.fixture
def predictor(model: SegEarthR2, words: PreTrainedTokenizerFast) -> Predictor:
    return Predictor(model, words, "test@0", max_new_tokens=8)


def _images(count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (200 + 40 * (n % 2), 240, 3), dtype=np.uint8) for n in range(count)]


def _assert_same(ours: Sequence[Sequence[Prediction]], theirs: Sequence[Sequence[Prediction]]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for ask, again in zip(one, other, strict=True):
            assert ask.text == again.text
            np.testing.assert_allclose(ask.mask_logits, again.mask_logits, atol=1e-4)
            certain = np.abs(again.mask_logits) > 1e-4
            assert np.array_equal((ask.mask_logits > 0) & certain, (again.mask_logits > 0) & certain)


@pytest.mark.parametrize(("tiles", "rows"), [(8, 64), (2, 3), (1, 1), (3, 8)])
def test_any_batching_gives_the_predictions_of_one_by_one(
    predictor: Predictor, tiles: int, rows: int
) -> None:
    images = _images(3)
    alone = [
        [predictor.predict(predictor.encode([image]), [question])[0][0] for question in QUESTIONS]
        for image in images
    ]
    assert any(len(answer.mask_logits) for row in alone for answer in row)
    predictor._tiles.size, predictor._rows.size = tiles, rows
    _assert_same(predictor.segment(images, QUESTIONS), alone)


def test_sampling_depends_on_its_seed_alone(predictor: Predictor) -> None:
    images = _images(2)
    likeliest = predictor.segment(images, QUESTIONS)
    drawn = predictor.segment(images, QUESTIONS, Sampling(1.5, seed=1))
    predictor._tiles.size, predictor._rows.size = 1, 3
    _assert_same(predictor.segment(images, QUESTIONS, Sampling(1.5, seed=1)), drawn)
    other = predictor.segment(images, QUESTIONS, Sampling(1.5, seed=2))
    texts = [[answer.text for row in answers for answer in row] for answers in (likeliest, drawn, other)]
    assert texts[0] != texts[1]
    assert texts[1] != texts[2]
    cold = predictor.segment(images, QUESTIONS, Sampling(1e-4, seed=2))
    assert [answer.text for row in cold for answer in row] == texts[0]


def test_a_temperature_must_be_positive() -> None:
    with pytest.raises(InputError, match="temperature=0"):
        Sampling(0.0, seed=1)


def _rows_at_once(model: SegEarthR2, monkeypatch: pytest.MonkeyPatch, most: int = 1000) -> list[int]:
    """Rows of each pass of the language model from here on; more than ``most`` do not fit."""
    extend, seen = model.language.extend, list[int]()

    def counted(embeds: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(len(embeds))
        if len(embeds) > most:
            raise torch.OutOfMemoryError("made for this test")
        return extend(embeds, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(model.language, "extend", counted)
    return seen


def test_running_out_of_memory_loses_no_prediction(
    predictor: Predictor, model: SegEarthR2, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _images(5)
    expected = predictor.segment(images, QUESTIONS)
    encode = model.image_tokens
    encoded: list[int] = []

    def narrow(views: torch.Tensor) -> torch.Tensor:
        encoded.append(len(views))
        if len(views) > 2:
            raise torch.OutOfMemoryError("made for this test")
        return encode(views)

    monkeypatch.setattr(model, "image_tokens", narrow)
    _rows_at_once(model, monkeypatch, 3)
    _assert_same(predictor.segment(images, QUESTIONS), expected)
    assert encoded == [5, 3, 2, 2, 1]
    predictor.segment(images, QUESTIONS[:1])
    assert encoded[5:] == [2, 2, 1], "what once did not fit is not tried again"

    _rows_at_once(model, monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        predictor.segment(images[:1], QUESTIONS)


@given(st.integers(0, 40), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_halving_keeps_order_and_loses_nothing(count: int, size: int, fits: int) -> None:
    def work(batch: Sequence[int]) -> list[int]:
        if len(batch) > fits:
            raise torch.OutOfMemoryError("made for this test")
        return list(batch)

    batcher = gpu_memory.Batcher(size)
    assert [item for part in batcher.run(range(count), work) for item in part] == list(range(count))
    assert 1 <= batcher.size <= size


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_a_grid_is_processed_once_in_blocks_that_fit(
    rows: int, columns: int, size: int, most: int, fits: int
) -> None:
    done: list[tuple[int, int]] = []
    blocks: list[int] = []

    def work(some: range, part: range) -> None:
        cells = [(row, column) for row in some for column in part]
        blocks.append(len(cells))
        if len(cells) > fits:
            raise torch.OutOfMemoryError("made for this test")
        done.extend(cells)

    batcher = gpu_memory.Batcher(size)
    batcher.run_grid(rows, columns, most, work)
    assert done == [(row, column) for row in range(rows) for column in range(columns)]
    assert max(blocks) <= min(size, most)
    # halved once for each time it has to be, and never further
    assert batcher.size >= min(size, most, fits) // 2
    assert sum(block > fits for block in blocks) <= 6


def test_batch_size_counts_instructions_on_tiles(
    predictor: Predictor, model: SegEarthR2, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = predictor.encode(_images(4))
    seen = _rows_at_once(model, monkeypatch, 12)
    predictor.predict(encoded, QUESTIONS)
    assert seen[0] == 16
    assert set(seen[1:]) == {8}, "two tiles with all four questions each"
    seen.clear()
    predictor.predict(encoded, QUESTIONS)
    assert set(seen) == {8}


def test_longer_instructions_make_smaller_batches(
    predictor: Predictor, model: SegEarthR2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All instructions of a batch are padded to the longest; memory is planned for that."""
    encoded = predictor.encode(_images(4))
    predictor._free = 80 * 2**20
    seen = _rows_at_once(model, monkeypatch)
    predictor.predict(encoded, QUESTIONS)
    assert max(seen) == 16
    seen.clear()
    together = predictor.predict(encoded, [*QUESTIONS[:3], "the water " * 60])
    assert max(seen) < 16
    monkeypatch.undo()
    _assert_same([row[:3] for row in together], [row[:3] for row in predictor.predict(encoded, QUESTIONS)])


def test_a_plan_follows_the_memory() -> None:
    full = config.make_base_config()
    small, large = (gpu_memory.plan_batches(full, torch.bfloat16, gib * 2**30) for gib in (8, 120))
    assert 1 <= small.tiles < large.tiles
    assert 1 <= small.rows < large.rows
    each = gpu_memory.estimate_sizes(full, torch.bfloat16)
    assert large.tiles * each.tile + large.rows * each.row <= 120 * 2**30
    assert gpu_memory.plan_batches(full, torch.bfloat16, 0) == gpu_memory.BatchPlan(1, 1)
    # keys and values of 889 positions in 32 layers of width 2560, and the pixel features at stride 4
    assert each.tile > 2 * 32 * 889 * 2560 * 2 + 256 * 256 * 256 * 4


@pytest.mark.parametrize(
    ("dims", "dtype"),
    [
        (config.make_base_config(), torch.bfloat16),
        (benchmark.make_mid_config(), torch.bfloat16),
        (benchmark.make_mid_config(), torch.float32),
    ],
    ids=["official", "mid", "mid-float32"],
)
def test_a_plan_covers_peak_memory(
    words: PreTrainedTokenizerFast, dims: config.SegEarthConfig, dtype: torch.dtype
) -> None:
    """Counted on tensors without values, where attention is not fused: on a GPU it is a little less."""
    made = Predictor(pretrained.build_on_meta(dims).keep_in(dtype).requires_grad_(False), words, "test@0")
    each = gpu_memory.estimate_sizes(dims, dtype, instruction_tokens=20)
    with LiveBytes("meta") as live:
        encoded = made.encode(_images(3))
    assert 0.8 * each.tile < live.peak / 3 <= each.tile
    prefix, pixels = encoded.prefix.select(0, 1, encoded.prefix.length), encoded.pixels.select(0, 1)
    for asked in (1, 16):
        with LiveBytes("meta") as live, torch.inference_mode():
            question = torch.empty(20, dims.phi.hidden_size, device="meta", dtype=dtype)
            batch = text_generation.DecodingBatch(
                made._model, prefix, [question] * asked, dims.max_new_tokens
            )
            for _ in range(2):
                batch.compute_logits()
                hidden = batch.append(torch.empty(asked, dtype=torch.long, device="meta"))
            del batch
            pointing = torch.tensor([dims.seg_token_id])
            told = [GeneratedText(pointing, hidden[row : row + 1]) for row in range(asked)]
            _, decoded = made._decode_masks(pixels, told, asked)
            processor.restore_image_size(
                decoded[0].masks[-1], processor.ImageShape(200, 240), dims.image_size
            )
        assert live.peak / asked <= each.row
        # sizes are for questions that are alone on their tile; more on one share its keys
        assert asked > 1 or live.peak > 0.7 * each.row


def test_prompts_of_different_lengths_share_a_prefix(predictor: Predictor) -> None:
    """Words that the tokenizer merges with the prompt's end shorten the prefix, not the text."""
    image = _images(1)
    odd = ["\n\n  water", "[/INST] water", "w" * 300]
    together = predictor.segment(image, [*odd, *QUESTIONS])
    alone = [[predictor.segment(image, [text])[0][0] for text in [*odd, *QUESTIONS]]]
    _assert_same(together, alone)
    assert prompt.SEG in "".join(answer.text for answer in together[0])


@pytest.mark.filterwarnings("ignore")
def test_compiled_predictions_are_the_same(model: SegEarthR2, words: PreTrainedTokenizerFast) -> None:
    torch.compiler.reset()  # sizes compiled before would make these symbolic
    images = _images(1)
    plain = Predictor(model, words, "test@0", max_new_tokens=3).segment(images, QUESTIONS[:1])
    copy = SegEarthR2(config.make_tiny_config())
    copy.load_state_dict(model.state_dict())
    compiled = Predictor(copy, words, "test@0", max_new_tokens=3, compiler="aot_eager")
    _assert_same(compiled.segment(images, QUESTIONS[:1]), plain)
