"""Predict concepts on images with SAM 3 of ``transformers``; each image is encoded once for all concepts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from segwatch.model import gpu_memory, model_version
from segwatch.model.errors import InputError
from segwatch.model.pretrained import resolve_device
from segwatch.model.sam3 import loading
from segwatch.model.sam3.box_encoder import Sam3
from segwatch.model.sam3.concepts import Concept, ConceptBox, ConceptPrediction
from segwatch.model.sam3.fusion import fuse_heads
from segwatch.model.sam3.memory import estimate_sizes

NAME = "sam3"


class Sam3Predictor:
    """SAM 3 with reproducible predictions. Not thread-safe."""

    def __init__(
        self,
        model: Sam3,
        tokenizer: PreTrainedTokenizerBase,
        version: str,
        *,
        memory_gib: float | None = None,
    ) -> None:
        self.version = version
        self.tile_px = int(model.config.image_size)
        text: Any = model.config.text_config
        self._max_tokens = int(text.max_position_embeddings)
        free = gpu_memory.measure_free_bytes(model.device, memory_gib)
        self.plan = gpu_memory.divide_memory(estimate_sizes(model.config, model.dtype), free)
        self._model = model
        model.train(mode=False)
        self._tokenizer = tokenizer
        self._tiles = gpu_memory.Batcher(self.plan.tiles)
        self._rows = gpu_memory.Batcher(self.plan.rows)

    @classmethod
    def load(
        cls,
        folder: Path,
        device: str = "auto",
        *,
        dtype: torch.dtype | None = None,
        memory_gib: float | None = None,
    ) -> Sam3Predictor:
        """Load weights in the layout of ``facebook/sam3``.

        Parameters
        ----------
        folder
            With ``config.json``, ``*.safetensors`` and the tokenizer's files.
        device
            "auto" = CUDA if available, else CPU.
        dtype
            None = bfloat16 on CUDA, float32 elsewhere.
        memory_gib
            Maximum GPU memory, weights included (on a CPU: working memory), GiB.

        Raises
        ------
        CheckpointError
            The folder has no weights of SAM 3, or they are cut, beyond all bounds, or do not fit its configuration.
        InputError
            The weights do not fit into ``memory_gib``.
        TokenizerError
            There is no usable tokenizer.
        """
        version = model_version.compute_version(folder, default_name=NAME)
        place = resolve_device(device)
        if dtype is None:
            dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
        model = loading.load_weights(folder, dtype)
        model.to(device=place)  # type: ignore[call-arg]  # its decorator hides the signature
        return cls(model, loading.load_tokenizer(folder, model.vocab_size), version, memory_gib=memory_gib)

    @torch.inference_mode()
    def segment(
        self, images: Sequence[NDArray[np.uint8]], concepts: Sequence[Concept]
    ) -> list[list[ConceptPrediction]]:
        """Predict all concepts on all images, in batches that fit into memory.

        Parameters
        ----------
        images
            Each (H, W, 3) uint8 RGB of any size.
        concepts
            What to segment.

        Returns
        -------
        list of list of ConceptPrediction
            As ``[image][concept]``.

        Raises
        ------
        InputError
            A phrase is empty, or a box lies on no image of the call.
        torch.OutOfMemoryError
            A single image or concept does not fit into memory.
        """
        _check_concepts(concepts, len(images))
        rows: list[list[ConceptPrediction]] = []
        texts = self._encode_phrases([one.phrase for one in concepts]) if concepts else None
        for vision in self._tiles.run(images, self._encode_images):
            begin = len(rows)
            some = images[begin : begin + len(vision.fpn_hidden_states[0])]
            if texts is None:
                rows += [[] for _ in some]
            else:
                rows += self._predict(vision, texts, concepts, range(begin, begin + len(some)), some)
        return rows

    def _encode_images(self, images: Sequence[NDArray[np.uint8]]) -> Sam3VisionEncoderOutput:
        pixels = torch.stack([_make_view(image, self.tile_px) for image in images])
        found: Sam3VisionEncoderOutput = self._model.get_vision_features(
            pixels.to(self._model.device, self._model.dtype)
        )
        return found

    def _encode_phrases(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(K, L, width) features and (K, L) mask of K phrases; words beyond the model's length are left out."""
        encoded = self._tokenizer(
            [phrase.strip() for phrase in phrases],
            padding="max_length",
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        found = self._model.get_text_features(encoded.input_ids, encoded.attention_mask)
        return found.pooler_output, encoded.attention_mask

    def _predict(
        self,
        vision: Sam3VisionEncoderOutput,
        texts: tuple[Tensor, Tensor],
        concepts: Sequence[Concept],
        numbers: range,
        images: Sequence[NDArray[np.uint8]],
    ) -> list[list[ConceptPrediction]]:
        """Predict concepts on encoded images; ``numbers`` are their positions in the call."""
        rows: list[list[ConceptPrediction]] = [[] for _ in images]
        shapes = [(image.shape[0], image.shape[1]) for image in images]

        def predict_block(some: range, part: range) -> None:
            predicted = self._predict_block(vision, texts, some, part, shapes)
            for image, found in zip(some, predicted, strict=True):
                rows[image] += found

        self._rows.run_grid(len(images), len(concepts), self.plan.rows, predict_block)
        # examples change the prompt's length: these are predicted one by one, so that no prediction depends on others
        for image, number in enumerate(numbers):
            for at, concept in enumerate(concepts):
                boxes = [one for one in concept.boxes if one.image == number]
                if boxes:
                    ((rows[image][at],),) = self._predict_block(
                        vision, texts, range(image, image + 1), range(at, at + 1), shapes, boxes
                    )
        return rows

    def _predict_block(
        self,
        vision: Sam3VisionEncoderOutput,
        texts: tuple[Tensor, Tensor],
        images: range,
        concepts: range,
        shapes: Sequence[tuple[int, int]],
        boxes: Sequence[ConceptBox] = (),
    ) -> list[list[ConceptPrediction]]:
        """Predict consecutive concepts on consecutive images in one batch; ``boxes`` only for one of each."""
        features, mask = (
            each[concepts.start : concepts.stop].repeat(len(images), 1, 1) for each in _pair(texts)
        )
        given = _make_boxes(boxes, shapes[images.start], features) if boxes else {}
        output = self._model(
            vision_embeds=_repeat(vision, images, len(concepts)),
            text_embeds=BaseModelOutputWithPooling(pooler_output=features),
            attention_mask=mask[:, 0],
            **given,
        )
        rows = []
        for image in images:
            begin = (image - images.start) * len(concepts)
            rows.append(
                [
                    fuse_heads(
                        output.pred_masks[row],
                        output.pred_logits[row],
                        output.semantic_seg[row, 0],
                        output.presence_logits[row, 0],
                        shapes[image],
                    )
                    for row in range(begin, begin + len(concepts))
                ]
            )
        return rows


def _pair(texts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Features (K, L, width) and mask (K, 1, L), so that both repeat alike."""
    return texts[0], texts[1][:, None]


def _repeat(vision: Sam3VisionEncoderOutput, images: range, count: int) -> Sam3VisionEncoderOutput:
    """Features of consecutive images, each repeated ``count`` times."""
    levels, positions = (
        tuple(level[images.start : images.stop].repeat_interleave(count, 0) for level in each)
        for each in (vision.fpn_hidden_states, vision.fpn_position_encoding)
    )
    return Sam3VisionEncoderOutput(fpn_hidden_states=levels, fpn_position_encoding=positions)


def _make_boxes(boxes: Sequence[ConceptBox], shape: tuple[int, int], like: Tensor) -> dict[str, Tensor]:
    """Boxes as the model takes them: (1, N, 4) centre x, centre y, width, height in 0..1, and (1, N) labels."""
    height, width = shape
    corners = torch.tensor([one.corners for one in boxes]) / torch.tensor([width, height, width, height])
    low, high = corners[:, :2].clamp(0, 1), corners[:, 2:].clamp(0, 1)
    given = torch.cat([(low + high) / 2, high - low], 1)[None]
    labels = torch.tensor([[int(one.is_positive) for one in boxes]])
    return {"input_boxes": given.to(like), "input_boxes_labels": labels.to(like.device)}


def _make_view(image: NDArray[np.uint8], size: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, size, size) float32 in -1..1, stretched to a square as SAM 3's own processor does.

    Raises
    ------
    InputError
        The image has another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"an image of shape {image.shape} and type {image.dtype} is not (H, W, 3) uint8")
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if pixels.shape[1:] != (size, size):
        pixels = F.interpolate(pixels[None], size=(size, size), mode="bilinear", antialias=True)[0]
    return pixels.float() / 127.5 - 1.0


def _check_concepts(concepts: Sequence[Concept], images: int) -> None:
    for concept in concepts:
        if not concept.phrase.strip():
            raise InputError("a concept is empty: name what to segment")
        for box in concept.boxes:
            left, top, right, bottom = box.corners
            if not (0 <= box.image < images and left < right and top < bottom):
                raise InputError(
                    f"the example {box} of {concept.phrase!r} is no box on one of {images} images"
                )
