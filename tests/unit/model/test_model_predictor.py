"""Words, views, splicing and answers, on a model of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedTokenizerFast

from segwatch.model import config, kv_cache, pretrained, processor, prompt, text_generation, tokenizer
from segwatch.model.errors import InputError, TokenizerError
from segwatch.model.predictor import Predictor
from segwatch.model.segearth import SegEarthR2

QUESTIONS = ("segment the water", "Which roads are flooded?", "all buildings")


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return tokenizer.train_tokenizer(["segment the water", "find the buildings", "Sure, it is [SEG]."])


@pytest.fixture(scope="module")
def talkative(words: PreTrainedTokenizerFast) -> Predictor:
    """Random weights whose head is tilted so that some tokens, but not all, are [SEG]."""
    torch.manual_seed(3)
    model = SegEarthR2(config.make_tiny_config())
    with torch.no_grad():
        model.language.lm_head.weight[model.config.seg_token_id].mul_(4.0)
    return Predictor(model, words, "test@0", max_new_tokens=8)


def _image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_shared_predictions_equal_one_by_one(talkative: Predictor) -> None:
    images = [_image(256, 256), _image(200, 120, seed=1)]
    together = talkative.predict(talkative.encode(images), QUESTIONS)
    assert any(len(answer.mask_logits) for row in together for answer in row)
    for image, row in zip(images, together, strict=True):
        encoded = talkative.encode([image])
        for question, answer in zip(QUESTIONS, row, strict=True):
            alone = talkative.predict(encoded, [question])[0][0]
            assert alone.text == answer.text
            assert answer.mask_logits.shape[1:] == image.shape[:2]
            assert answer.text.count(prompt.SEG) == len(answer.mask_logits)
            np.testing.assert_allclose(alone.mask_logits, answer.mask_logits, atol=1e-3)


def test_cached_generation_equals_a_full_forward_pass(talkative: Predictor) -> None:
    image = _image(256, 256)
    model, words = talkative._model, talkative._tokenizer
    encoded = talkative.encode([image])
    asked = prompt.tokenize_prompt(words, QUESTIONS[1])
    begin = len(talkative._prefix_ids)
    suffix = model.language.embed(asked[begin:])
    generated = text_generation.generate_texts(model, encoded.prefix, [suffix], max_new_tokens=8)[0]
    ids = torch.cat([asked, generated.ids])
    with torch.inference_mode():
        clip = processor.make_language_view(image, model.config.siglip.image_size)[None]
        view = processor.make_mask_view(image, model.config.image_size)[None]
        out = model([ids], view, clip, answer_start=[len(ids) - len(generated.ids)])
    torch.testing.assert_close(out.hidden[0, -len(generated.ids) :], generated.hidden, atol=1e-4, rtol=1e-4)
    picked = out.logits[0, -len(generated.ids) - 1 : -1].argmax(dim=1)
    assert picked.tolist() == generated.ids.tolist()


def test_a_prediction_without_targets_has_no_masks(words: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = SegEarthR2(config.make_tiny_config())
    with torch.no_grad():
        model.language.lm_head.weight[model.config.seg_token_id].zero_()
        model.language.lm_head.weight[5].copy_(model.language.phi.final_layernorm.bias + 1)
    predictor = Predictor(model, words, "test@0", max_new_tokens=3)
    answer = predictor.predict(predictor.encode([_image(60, 90)]), ["water"])[0][0]
    assert answer.mask_logits.shape == (0, 60, 90)
    assert answer.mask_logits.dtype == np.float32
    assert prompt.SEG not in answer.text


def test_the_same_instruction_gives_the_same_bytes(talkative: Predictor) -> None:
    one, two = (talkative.predict(talkative.encode([_image(64, 64)]), ["water"])[0][0] for _ in range(2))
    assert one.text == two.text
    assert one.mask_logits.tobytes() == two.mask_logits.tobytes()


def test_no_instructions_give_no_predictions(talkative: Predictor) -> None:
    assert talkative.predict(talkative.encode([_image(32, 32)]), []) == [[]]


@pytest.mark.parametrize("shift", [0.0, 30.0, 300.0])
def test_a_common_shift_of_scores_keeps_their_differences(shift: float) -> None:
    """Phi's keys have a bias, which softmax ignores; half precision must ignore it too."""
    torch.manual_seed(0)
    heads, size, length, asked = 4, 80, 100, 3
    along = torch.nn.functional.normalize(torch.randn(1, heads, 1, size), dim=3)
    query = (torch.randn(asked, heads, 1, size) + along * 8).bfloat16()
    keys = (torch.randn(1, heads, length, size) + along * shift * size**0.5 / 8).bfloat16()
    values = torch.randn(1, heads, length, size).bfloat16()
    cache = kv_cache.SuffixCache(kv_cache.PrefixCache((keys,), (values,)), asked, 2)
    cache.begin_pass(torch.ones(asked, 1, dtype=torch.bool))
    own = (keys[:, :, :1].expand(asked, -1, -1, -1), values[:, :, :1].expand(asked, -1, -1, -1))
    found = cache.attend(0, query, *own, size**-0.5).transpose(1, 2)
    every_key, every_value = (
        torch.cat([part.expand(asked, -1, -1, -1), one], dim=2).double()
        for part, one in zip((keys, values), own, strict=True)
    )
    exact = torch.nn.functional.scaled_dot_product_attention(
        query.double(), every_key, every_value, scale=size**-0.5
    )
    assert (found - exact).abs().mean() < 0.01 * exact.abs().mean()


def test_the_prefix_cache_is_contiguous(talkative: Predictor) -> None:
    """Every token reads it again for all images at once: a copy each time would cost more than the product."""
    kept = talkative.encode([_image(64, 64), _image(64, 64, seed=1)]).prefix
    assert all(part.is_contiguous() for part in (*kept.keys, *kept.values))


def test_bad_input_is_refused(talkative: Predictor) -> None:
    with pytest.raises(InputError, match="no images"):
        talkative.encode([])
    with pytest.raises(InputError, match="float64"):
        talkative.encode([np.zeros((4, 4, 3))])  # type: ignore[list-item]
    with pytest.raises(InputError, match="instruction 1 cannot be used: it is empty"):
        talkative.predict(talkative.encode([_image(8, 8)]), ["water", " \n"])


def test_a_too_long_instruction_is_refused(talkative: Predictor) -> None:
    """Beyond the trained positions a model's text is meaningless."""
    assert talkative.find_problem("the water " * 20) is None
    longest = "щ" * 120
    while talkative.find_problem(longest) is None:
        longest += "щ"
    why = talkative.find_problem(longest)
    assert why is not None
    assert "tokens too long for segearth-r2-tiny, which has 512 positions" in why
    with pytest.raises(InputError, match=r"instruction 1 cannot be used: it is \d tokens too long"):
        talkative.segment([_image(8, 8)], ["water", longest])
    assert talkative.segment([_image(8, 8)], ["water", longest[:-1]])[0][1].text


def test_loading_names_model_and_weights(tmp_path: Path, words: PreTrainedTokenizerFast) -> None:
    pretrained.save_pretrained(SegEarthR2(config.make_tiny_config()), words, tmp_path)
    predictor = Predictor.load(tmp_path, "cpu")
    assert predictor.name == "segearth-r2-tiny"
    assert predictor.version.startswith("segearth-r2-tiny@")
    assert len(predictor.version.split("@")[1]) == 12
    assert (predictor.tile_px, predictor.max_new_tokens) == (256, 24)


def test_targets_of_a_padded_batch_equal_those_alone(words: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(2)
    model = SegEarthR2(config.make_tiny_config()).eval()
    answers = ["Sure, [SEG] and [SEG].", prompt.NOTHING, "It is [SEG]."]
    examples = [prompt.tokenize_example(words, text, text, "refer") for text in answers]
    images, clip = torch.randn(3, 3, 256, 256), torch.randn(3, 3, 112, 112)
    with torch.inference_mode():
        batch = model(
            [example.input_ids for example in examples],
            images,
            clip,
            refer_ids=[example.refer_ids for example in examples],
            answer_start=[example.answer_start for example in examples],
            labels=[example.labels for example in examples],
            output_attentions=True,
        )
        assert batch.seg_counts == [2, 0, 1]  # the instruction's own [SEG] is not a target
        assert batch.labels is not None
        assert batch.attentions is not None
        for index, example in enumerate(examples):
            alone = model(
                [example.input_ids],
                images[index : index + 1],
                clip[index : index + 1],
                refer_ids=[example.refer_ids],
                answer_start=[example.answer_start],
                output_attentions=True,
            )
            rows = batch.seg_batch == index
            torch.testing.assert_close(batch.pred_masks[-1][rows], alone.pred_masks[-1], atol=1e-4, rtol=1e-4)
            for ours, theirs in zip(batch.attentions, alone.attentions or [], strict=True):
                torch.testing.assert_close(ours[rows], theirs)
            told = example.labels[example.labels >= 0]
            assert torch.equal(batch.labels[index][batch.labels[index] >= 0], told)


def test_placeholders_must_fit(words: PreTrainedTokenizerFast) -> None:
    model = SegEarthR2(config.make_tiny_config())
    images, clip = torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 112, 112)
    with pytest.raises(InputError, match="0 image placeholders"):
        model([torch.tensor([1, 2])], images, clip, answer_start=[0])
    with pytest.raises(InputError, match="no refer_ids"):
        model([torch.tensor([1, -200, -204])], images, clip, answer_start=[0])
    with pytest.raises(InputError, match="exactly one of"):
        model([torch.tensor([1, -200])], images, clip)


def test_prompt_is_the_published_text(words: PreTrainedTokenizerFast) -> None:
    ids = prompt.tokenize_prompt(words, "segment the water").tolist()
    cut = ids.index(-200)
    assert words.decode(ids[:cut]) == f"[INST] <<SYS>>\n{config.SYSTEM}\n<</SYS>>\n\nThis is an image \n"
    assert words.decode(ids[cut + 1 :]) == (
        "\n. If the instruction is a question, provide segmentation result + explanation; if it's a declarative "
        "phrase, provide only the segmentation result\n. Please doing Referring or Reasoning Segmentation according "
        "to the following instruction:\nsegment the water [/INST]"
    )
    example = prompt.tokenize_example(words, "water", "Sure, it is [SEG].")
    assert words.decode(example.labels[example.answer_start :]) == " \nSure, it is [SEG]. <|endoftext|>"
    assert (example.labels[: example.answer_start] == -100).all()
    assert example.refer_ids[-1] == words.get_vocab()[prompt.SEG]


@given(st.text(max_size=40))
@settings(max_examples=50, deadline=None)
def test_small_tokenizer_loses_nothing(words: PreTrainedTokenizerFast, text: str) -> None:
    assert words.decode(prompt.tokenize(words, text)) == text


def test_small_tokenizer_ids_are_where_the_configuration_says(words: PreTrainedTokenizerFast) -> None:
    tiny = config.make_tiny_config()
    assert len(words) == tiny.phi.vocab_size
    assert tokenizer.get_token_id(words, prompt.SEG) == tiny.seg_token_id
    assert tokenizer.get_token_id(words, prompt.END) == tiny.eos_token_id
    with pytest.raises(TokenizerError, match="257"):
        tokenizer.train_tokenizer([], vocab_size=257)


@given(st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_mask_view_keeps_aspect_and_pads_with_grey(height: int, width: int) -> None:
    inner_height, inner_width = processor.compute_resized_shape(processor.ImageShape(height, width), 128)
    assert max(inner_height, inner_width) == 128
    view = processor.make_mask_view(np.full((height, width, 3), 7, np.uint8), 128)
    grey = (torch.full((3,), 128.0) - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor(
        [58.395, 57.12, 57.375]
    )
    inside = torch.zeros(128, 128, dtype=torch.bool)
    inside[:inner_height, :inner_width] = True
    assert torch.allclose(view[:, ~inside], grey[:, None].expand(3, int((~inside).sum())))
    assert not torch.isclose(view[0][inside], grey[0]).any()


def test_views_at_their_own_size_are_exact() -> None:
    image = _image(128, 128)
    back = processor.make_mask_view(image, 128) * torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    back = back + torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    assert np.array_equal(back.round().permute(1, 2, 0).numpy().astype(np.uint8), image)
    assert torch.equal(processor.make_language_view(image, 128).amax(), torch.tensor(1.0))


@pytest.mark.parametrize(("height", "width"), [(300, 500), (97, 64), (512, 512)])
def test_views_are_those_of_pil(height: int, width: int) -> None:
    """The reference's views are PIL's; sums that end near a half may round the other way."""
    coarse = Image.fromarray(_image(12, 12)).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse)
    inner = processor.compute_resized_shape(processor.ImageShape(height, width), 256)
    for ours, theirs in (
        (
            processor.resize_for_mask(pixels, 256)[:, : inner[0], : inner[1]],
            coarse.resize(inner[::-1], Image.Resampling.BILINEAR),
        ),
        (processor.resize_for_language(pixels, 112), coarse.resize((112, 112), Image.Resampling.BICUBIC)),
    ):
        away = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - np.asarray(theirs).astype(int))
        assert away.max() <= 2
        assert (away > 0).mean() < 0.01


def test_views_of_an_array_that_is_read_backwards() -> None:
    image = _image(40, 30)
    assert torch.equal(
        processor.resize_for_mask(image[::-1, :, ::-1], 64),
        processor.resize_for_mask(np.ascontiguousarray(image[::-1, :, ::-1]), 64),
    )


def test_masks_over_the_view_are_those_of_the_image(talkative: Predictor) -> None:
    image = _image(200, 120)
    own, viewed = (talkative.segment([image], QUESTIONS, in_view=way)[0] for way in (False, True))
    assert any(len(answer.mask_logits) for answer in own)
    for answer, view in zip(own, viewed, strict=True):
        assert view.mask_logits.shape == (len(answer.mask_logits), 256, 256)
        assert view.text == answer.text
        height, width = processor.compute_resized_shape(processor.ImageShape(200, 120), 256)
        for mask, seen in zip(answer.mask_logits > 0, view.mask_logits > 0, strict=True):
            there = processor.make_truth_view(mask, 256)
            assert (there[:height, :width] != seen[:height, :width]).mean() < 0.06
            assert not there[height:].any()
            assert not there[:, width:].any()


def test_restoring_the_image_size_keeps_a_mask_in_place() -> None:
    logits = torch.full((1, 32, 32), -5.0)
    logits[:, :8, :16] = 5.0
    back = processor.restore_image_size(logits, processor.ImageShape(60, 120), 128)
    assert back.shape == (1, 60, 120)
    assert bool((back[0, :28, :56] > 0).all())
    assert not bool((back[0, 34:] > 0).any())


def test_half_precision_predicts_full_precision_masks(tmp_path: Path, talkative: Predictor) -> None:
    pretrained.save_pretrained(talkative._model, talkative._tokenizer, tmp_path)
    predictor = Predictor.load(tmp_path, "cpu", dtype=torch.bfloat16, max_new_tokens=4)
    answer = predictor.predict(predictor.encode([_image(64, 48)]), ["water"])[0][0]
    assert answer.mask_logits.dtype == np.float32
    assert answer.mask_logits.shape[1:] == (64, 48)
    assert np.isfinite(answer.mask_logits).all()
