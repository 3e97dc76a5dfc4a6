"""SAM 3 through its predictor and as a segmenter, with small random weights in the published layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import Sam3Model

from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.errors import SegmenterError
from segwatch.flows.inference import segmenters
from segwatch.geo.types.segmentation import Exemplar, PixelBox, SegmentationRequest
from segwatch.model.errors import CheckpointError, InputError, TokenizerError
from segwatch.model.sam3.box_encoder import pool_box
from segwatch.model.sam3.concepts import Concept, ConceptBox, ConceptPrediction
from segwatch.model.sam3.fusion import fuse_heads
from segwatch.model.sam3.predictor import Sam3Predictor
from tests.support.tiny_sam3 import TILE_PX, write_sam3

WATER, ROAD, HOUSE = Concept("water"), Concept("flooded road"), Concept("house")
SURE = 8.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the weights."""
    return write_sam3(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Sam3Predictor:
    """The model on the CPU."""
    return Sam3Predictor.load(folder, "cpu")


@pytest.fixture
def images() -> list[NDArray[np.uint8]]:
    """Three tiles."""
    noise = np.random.default_rng(0)
    return [noise.integers(0, 255, (TILE_PX, TILE_PX, 3), np.uint8) for _ in range(3)]


def _count_encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of images of each call of the vision encoder, filled from now on."""
    counts: list[int] = []
    right = Sam3Model.get_vision_features

    def count(self: Any, pixel_values: torch.Tensor, **more: Any) -> Any:
        counts.append(len(pixel_values))
        return right(self, pixel_values, **more)

    monkeypatch.setattr(Sam3Model, "get_vision_features", count)
    return counts


def _is_same(one: ConceptPrediction, other: ConceptPrediction) -> bool:
    return np.allclose(one.probabilities, other.probabilities, atol=1e-5) and one.presence == pytest.approx(
        other.presence, abs=1e-5
    )


def test_a_tile_is_encoded_once_for_all_concepts_as_transformers_does(
    predictor: Sam3Predictor, images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = _count_encoded(monkeypatch)
    rows = predictor.segment(images, [WATER, ROAD, HOUSE])
    assert sum(encoded) == len(images)
    model: Any = predictor._model
    ids = predictor._tokenizer(["flooded road"], padding="max_length", max_length=32, return_tensors="pt")
    pixels = torch.from_numpy(images[1]).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        output = model(pixel_values=pixels, input_ids=ids.input_ids, attention_mask=ids.attention_mask)
    expected = fuse_heads(
        output.pred_masks[0],
        output.pred_logits[0],
        output.semantic_seg[0, 0],
        output.presence_logits[0, 0],
        (TILE_PX, TILE_PX),
    )
    assert _is_same(rows[1][1], expected)
    assert rows[1][1].presence == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-5)
    assert not _is_same(rows[1][1], rows[1][0]), "words must matter"
    assert not _is_same(rows[1][1], rows[2][1]), "pixels must matter"


def test_predictions_do_not_depend_on_what_fits_into_memory(
    folder: Path, predictor: Sam3Predictor, images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Sam3Predictor.load(folder, "cpu", memory_gib=1e-6)
    assert (small.plan.tiles, small.plan.rows) == (1, 1)
    assert predictor.plan.tiles > 1
    concepts = [WATER, ROAD]
    for one, other in zip(predictor.segment(images, concepts), small.segment(images, concepts), strict=True):
        assert all(map(_is_same, one, other))
    full, asked = predictor._model.forward, []

    def refuse_batches(**given: Any) -> Any:
        asked.append(len(given["attention_mask"]))
        if asked[-1] > 2:
            raise torch.OutOfMemoryError("too large a batch")
        return full(**given)

    monkeypatch.setattr(predictor._model, "forward", refuse_batches)
    halved = predictor.segment(images, concepts)
    assert max(asked) > 2
    assert all(map(_is_same, halved[2], small.segment(images, concepts)[2]))


def test_an_example_counts_on_the_tile_that_shows_it(
    predictor: Sam3Predictor, images: list[NDArray[np.uint8]]
) -> None:
    box = ConceptBox(1, (10, 10, 60, 40))
    plain = predictor.segment(images, [ROAD])
    shown = predictor.segment(images, [Concept(ROAD.phrase, (box,))])
    refused = predictor.segment(images, [Concept(ROAD.phrase, (ConceptBox(1, box.corners, False),))])
    assert [_is_same(one[0], other[0]) for one, other in zip(plain, shown, strict=True)] == [
        True,
        False,
        True,
    ]
    assert not _is_same(shown[1][0], refused[1][0])
    with pytest.raises(InputError, match="no box on one of 3 images"):
        predictor.segment(images, [Concept("road", (ConceptBox(3, (0, 0, 1, 1)),))])
    with pytest.raises(InputError, match="a concept is empty"):
        predictor.segment(images, [Concept(" ")])


def test_boxes_are_pooled_as_torchvision_does() -> None:
    """``roi_align`` of a plane is the plane at the centre of each cell; a tiny box covers at least a pixel."""
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    found = pool_box(torch.stack([rows, columns]), torch.tensor([2.0, 3.0, 23.0, 17.0]), 7)
    assert torch.allclose(found[0, :, 0], 3 + 14 / 7 * (torch.arange(7) + 0.5), atol=1e-4)
    assert torch.allclose(found[1, 0], 2 + 21 / 7 * (torch.arange(7) + 0.5), atol=1e-4)
    small = pool_box(columns[None], torch.tensor([5.0, 5.0, 5.1, 5.1]), 7)
    assert torch.allclose(small[0, 0], 5 + (torch.arange(7) + 0.5) / 7, atol=1e-4)


def _draw(*spans: tuple[int, int]) -> torch.Tensor:
    """Mask logits (N, 8, 8) that are inside between these columns."""
    masks = torch.full((len(spans), 8, 8), -SURE)
    for mask, (start, stop) in zip(masks, spans, strict=True):
        mask[:, start:stop] = SURE
    return masks


def test_heads_are_fused_and_filtered_by_presence() -> None:
    """The larger probability of both heads times presence; touching objects are told apart, repeated ones are not."""
    masks = _draw((0, 3), (3, 5), (0, 3), (6, 8))
    chances = torch.tensor([4.0, 3.0, 2.0, -1.0])
    semantic = _draw((0, 6))[0]
    found = fuse_heads(masks, chances, semantic, torch.tensor(2.0), (8, 8))
    assert found.instances[0].tolist() == [1, 1, 1, 2, 2, 0, 0, 0], (
        "the fourth is no object, the third the first again"
    )
    presence = 1 / (1 + np.exp(-2.0))
    assert found.probabilities[0, :6] == pytest.approx(presence, abs=0.02)
    # what is too unsure to be an object adds nothing
    assert found.probabilities[0, 6:] == pytest.approx(0, abs=0.01)
    absent = fuse_heads(masks, chances, semantic, torch.tensor(-2.0), (8, 8))
    assert absent.probabilities.max() < 0.5
    assert absent.instances.max() == 0


def _settings(folder: Path | None, **more: Any) -> FlowSettings:
    path = None if folder is None else str(folder)
    return load_settings().model_copy(update={"model": "sam3", "model_path": path, "device": "cpu", **more})


def test_it_is_a_segmenter_of_targets(
    folder: Path, images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = segmenters.load_segmenter(_settings(folder))
    assert segmenter.tile_px == TILE_PX
    assert segmenter.version == segmenters.get_model_version(_settings(folder))
    assert segmenter.version.startswith("sam3@")
    encoded = _count_encoded(monkeypatch)
    example = Exemplar(0, "house", PixelBox(4, 4, 50, 50))
    requests = [
        SegmentationRequest("segment the water and the houses", ("water", "house"), 0.5),
        SegmentationRequest("water"),
        SegmentationRequest("houses like this", ("house",), exemplars=(example,)),
    ]
    rows = segmenter.segment(images, requests)
    assert sum(encoded) == len(images)
    both, water, houses = rows[0]
    assert both.mask_logits.shape == (2, TILE_PX, TILE_PX)
    assert both.presence == pytest.approx((0.881, 0.881), abs=0.001)
    assert both.instances is not None
    assert both.instances.shape == both.mask_logits.shape
    # without targets, the instruction is the concept
    np.testing.assert_allclose(water.mask_logits[0], both.mask_logits[0], atol=1e-3)
    assert np.abs(houses.mask_logits[0] - both.mask_logits[1]).max() > 0.1
    # the example is on the first tile
    np.testing.assert_allclose(rows[1][2].mask_logits[0], rows[1][0].mask_logits[1], atol=1e-3)


def test_missing_weights_are_named_with_their_licence(folder: Path, tmp_path: Path) -> None:
    for ask in (segmenters.load_segmenter, segmenters.get_model_version):
        with pytest.raises(SegmenterError, match=r"SAM License.*SEGWATCH_MODEL_PATH"):
            ask(_settings(None))
    with pytest.raises(SegmenterError, match=r"no such folder.*SAM License"):
        segmenters.load_segmenter(_settings(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"no \.safetensors file"):
        segmenters.load_segmenter(_settings(tmp_path))
    weights = load_file(folder / "model.safetensors")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TokenizerError, match="no usable tokenizer"):
        segmenters.load_segmenter(_settings(tmp_path))
    del weights["text_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing: text_projection\.weight"):
        segmenters.load_segmenter(_settings(tmp_path))
    with pytest.raises(ValueError, match="SEGWATCH_MODEL=sam3 exclude each other"):
        FlowSettings(segmenter="spectral", model="sam3")
