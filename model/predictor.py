"""Images and instructions in, words and masks out: what the rest of the product calls.

Encode once, ask many: the pixels and everything said before the instruction are worked through once per
image, however many instructions follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from segwatch.model import build, generate, identity, processor, prompt
from segwatch.model.errors import InputError
from segwatch.model.pixel_decoder import PixelFeatures
from segwatch.model.segearth import SegEarthR2
from segwatch.model.splice import IMAGE_ID

_ROWS_PER_BATCH = 16


@dataclass(frozen=True)
class EncodedImages:
    """What is known about images before any instruction; only the predictor that made it can use it."""

    shapes: tuple[tuple[int, int], ...]
    """(height, width) of each image, pixels."""
    pixels: PixelFeatures
    prefix: generate.Prefix


@dataclass(frozen=True)
class Answer:
    """One instruction answered on one image."""

    text: str
    """The model's words, ``[SEG]`` where it points at a target."""
    mask_logits: NDArray[np.float32]
    """(M, H, W) at the image's own size, one per ``[SEG]`` in order of appearance; > 0 is inside."""


class Predictor:
    """SegEarth-R2 with greedy answers. Not safe for use from several threads at once."""

    def __init__(
        self,
        model: SegEarthR2,
        tokenizer: PreTrainedTokenizerBase,
        version: str,
        *,
        max_new_tokens: int | None = None,
    ) -> None:
        self.name = model.config.name
        self.version = version
        self.tile_px = model.config.image_size
        self.max_new_tokens = model.config.max_new_tokens if max_new_tokens is None else max_new_tokens
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._prefix_ids = _common(
            [prompt.inference_ids(tokenizer, "a").tolist(), prompt.inference_ids(tokenizer, "Q?").tolist()]
        )

    @classmethod
    def load(
        cls,
        directory: Path | str | None = None,
        device: str = "auto",
        *,
        dtype: torch.dtype = torch.float32,
        max_new_tokens: int | None = None,
    ) -> Predictor:
        """A predictor from a folder or a hub id; None is the model shipped with the product.

        Args:
            directory: folder with ``config.json``, ``*.safetensors`` and tokenizer files.
            device: "auto" is CUDA where there is one.
            dtype: of language model and vision tower; the mask branch is always float32.
            max_new_tokens: longest answer; the configuration's by default.

        Raises:
            CheckpointError: if weights and configuration do not fit.
            TokenizerError: if there is no usable tokenizer.
        """
        folder = identity.resolve(None if directory is None else str(directory))
        loaded = build.from_pretrained(folder, device, dtype)
        version = identity.version(folder)
        return cls(loaded.model, loaded.tokenizer, version, max_new_tokens=max_new_tokens)

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> EncodedImages:
        """Work through the pixels of images, each (H, W, 3) uint8 RGB of any size.

        Raises:
            InputError: for no images, or one of another shape or type.
        """
        if not images:
            raise InputError("no images: give at least one")
        model, config = self._model, self._model.config
        mask_views = torch.stack([processor.mask_view(image, config.image_size) for image in images])
        clip_views = torch.stack(
            [processor.language_view(image, config.siglip.image_size) for image in images]
        )
        ids = torch.tensor(self._prefix_ids, device=model.device)
        tokens = model.image_tokens(clip_views.to(model.device))
        return EncodedImages(
            shapes=tuple((image.shape[0], image.shape[1]) for image in images),
            pixels=model.pixel_features(mask_views.to(model.device)),
            prefix=generate.prefill(model, model.splice([ids] * len(images), tokens).embeds),
        )

    @torch.inference_mode()
    def answer(self, encoded: EncodedImages, instructions: Sequence[str]) -> list[list[Answer]]:
        """Answers as ``[image][instruction]``. An answer that points at nothing has no masks.

        Raises:
            InputError: for an instruction without words.
        """
        if empty := [index for index, text in enumerate(instructions) if not text.strip()]:
            raise InputError(f"instruction {empty[0]} is empty: say what to segment")
        asked = len(instructions)
        pairs = self._generate(encoded, [text.strip() for text in instructions])
        segs = [pair.hidden[pair.ids == self._model.config.seg_token_id] for pair in pairs]
        batch = torch.tensor(
            [index // asked for index, states in enumerate(segs) for _ in range(len(states))],
            dtype=torch.long,
            device=self._model.device,
        )
        masks = self._masks(encoded, torch.cat(segs), batch) if pairs else batch
        parts = torch.split(masks, [len(states) for states in segs])
        answers = [
            Answer(self._text(pair.ids), self._at_image_size(part, encoded.shapes[index // asked]))
            for index, (pair, part) in enumerate(zip(pairs, parts, strict=True))
        ]
        return [answers[row * asked : (row + 1) * asked] for row in range(len(encoded.shapes))]

    def _generate(self, encoded: EncodedImages, instructions: list[str]) -> list[generate.Generated]:
        """All answers, image by image, in order of the instructions."""
        if not instructions:
            return []
        ids = [prompt.inference_ids(self._tokenizer, text).tolist() for text in instructions]
        shared = min(len(_common([self._prefix_ids, *ids])), *(len(row) - 1 for row in ids))
        kept = shared - 1 + self._model.config.num_image_tokens
        device = self._model.device
        suffixes = [self._model.language.embed(torch.tensor(row[shared:], device=device)) for row in ids]
        pairs = [(image, suffix) for image in range(len(encoded.shapes)) for suffix in suffixes]
        generated = []
        for begin in range(0, len(pairs), _ROWS_PER_BATCH):
            rows, parts = zip(*pairs[begin : begin + _ROWS_PER_BATCH], strict=True)
            generated += generate.greedy(
                self._model,
                encoded.prefix,
                torch.tensor(rows, device=device),
                parts,
                kept=kept,
                max_new_tokens=self.max_new_tokens,
            )
        return generated

    def _masks(self, encoded: EncodedImages, hidden: Tensor, batch: Tensor) -> Tensor:
        """(T, S / 4, S / 4) logits of all targets."""
        if len(batch) == 0:
            return hidden.new_zeros(0, *encoded.pixels.mask_features.shape[2:])
        return self._model.decode(encoded.pixels, self._model.queries(hidden), batch)[-1]

    def _at_image_size(self, logits: Tensor, shape: tuple[int, int]) -> NDArray[np.float32]:
        return processor.undo(logits.float(), *shape, self._model.config.image_size).cpu().numpy()

    def _text(self, ids: Tensor) -> str:
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)).strip()


def _common(rows: Sequence[Sequence[int]]) -> list[int]:
    """Longest beginning that all rows share; it holds the image's placeholder."""
    shared = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    if IMAGE_ID not in shared:
        raise InputError(
            "the tokenizer merges words across the image's place; use the checkpoint's own tokenizer"
        )
    return shared
