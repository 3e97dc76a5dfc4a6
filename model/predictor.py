"""Images and instructions in, words and masks out: what the rest of the product calls.

Encode once, ask many: the pixels and everything said before the instruction are worked through once per
image, however many instructions follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from segwatch.model import gpu_memory, model_version, pretrained, processor, prompt, text_generation
from segwatch.model.errors import InputError
from segwatch.model.kv_cache import Prefix
from segwatch.model.pixel_decoder import PixelFeatures
from segwatch.model.presence_head import capped
from segwatch.model.segearth import Decoded, SegEarthR2
from segwatch.model.splice import IMAGE_ID
from segwatch.model.text_generation import Generated, Sampling

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedImages:
    """Images worked through, and what is said to begin with; only the predictor that made it can use it."""

    shapes: tuple[tuple[int, int], ...]
    """(height, width) of each image, pixels."""
    pixels: PixelFeatures
    prefix: Prefix
    begun: tuple[int, ...]
    """Ids of the prompt's beginning that the prefix holds, the image's placeholder among them."""


@dataclass(frozen=True)
class Answer:
    """One instruction answered on one image."""

    text: str
    """The model's words, ``[SEG]`` where it points at a target."""
    mask_logits: NDArray[np.float32]
    """(M, H, W) at the image's own size, one per ``[SEG]`` in order of appearance; > 0 is inside. Or (M, S, S) over the
    mask view, where that was asked for. With a presence head nowhere above the target's presence, so that what is
    likelier absent has an empty mask."""
    presence: NDArray[np.float32] | None = None
    """(M,) logits, > 0 where the target is likelier somewhere in the image than not; None without a presence head."""


@dataclass(frozen=True)
class _Views:
    """Both views of one image as bytes, in page-locked memory where the model is on CUDA."""

    shape: tuple[int, int]
    mask: Tensor
    language: Tensor


class Predictor:
    """SegEarth-R2 with reproducible answers. Not safe for use from several threads at once."""

    def __init__(
        self,
        model: SegEarthR2,
        tokenizer: PreTrainedTokenizerBase,
        version: str,
        *,
        max_new_tokens: int | None = None,
        memory_gib: float | None = None,
        compiler: str | None = None,
    ) -> None:
        self.name = model.config.name
        self.version = version
        self.tile_px = model.config.image_size
        self.max_new_tokens = model.config.max_new_tokens if max_new_tokens is None else max_new_tokens
        self._free = gpu_memory.free_bytes(model.device, memory_gib)
        self.plan = gpu_memory.plan(model.config, model.dtype, self._free)
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._prefix_ids = _common(
            [prompt.inference_ids(tokenizer, "a").tolist(), prompt.inference_ids(tokenizer, "Q?").tolist()]
        )
        self._tiles = gpu_memory.Batcher(self.plan.tiles)
        self._rows = gpu_memory.Batcher(self.plan.rows)
        if compiler is not None:
            for part in (model.vision_tower, model.mask_encoder, model.pixel_decoder, model.language.phi):
                part.compile(backend=compiler)

    @classmethod
    def load(
        cls,
        directory: Path | str | None = None,
        device: str = "auto",
        *,
        dtype: torch.dtype | None = torch.float32,
        max_new_tokens: int | None = None,
        memory_gib: float | None = None,
        compiler: str | None = None,
    ) -> Predictor:
        """A predictor from a folder or a hub id; None is the model shipped with the product.

        Args:
            directory: folder with ``config.json``, ``*.safetensors`` and tokenizer files.
            device: "auto" is CUDA where there is one.
            dtype: of language model and vision tower; the mask branch is always float32. None is bfloat16
                on CUDA and float32 elsewhere.
            max_new_tokens: longest answer; the configuration's by default.
            memory_gib: the most GPU memory to use, weights included (on a CPU: working memory).
            compiler: backend of ``torch.compile``, such as "inductor"; None compiles nothing.

        Raises:
            CheckpointError: if weights and configuration do not fit.
            InputError: if the weights do not fit into ``memory_gib``.
            TokenizerError: if there is no usable tokenizer.
        """
        folder = model_version.resolve(None if directory is None else str(directory))
        place = pretrained.resolve_device(device)
        if dtype is None:
            dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
        loaded = pretrained.from_pretrained(folder, place, dtype)
        return cls(
            loaded.model,
            loaded.tokenizer,
            model_version.version(folder),
            max_new_tokens=max_new_tokens,
            memory_gib=memory_gib,
            compiler=compiler,
        )

    def segment(
        self,
        images: Sequence[Image],
        instructions: Sequence[str],
        sampling: Sampling | None = None,
        *,
        in_view: bool = False,
    ) -> list[list[Answer]]:
        """All instructions on all images, in batches that fit; for a GPU coming images are prepared meanwhile.

        Args:
            images: each (H, W, 3) uint8 RGB of any size.
            instructions: what to segment.
            sampling: draw the words; None takes the likeliest.
            in_view: leave masks over the mask view, padding included, which is where benchmarks compare them.

        Returns:
            Answers as ``[image][instruction]``. An answer that points at nothing has no masks.

        Raises:
            InputError: for no images, one of another shape or type, or an instruction without words or with too many.
            torch.OutOfMemoryError: if a single image or question does not fit.
        """
        asked, draws = self._asked(instructions), self._draws(len(images), len(instructions), sampling)
        # a single question goes through with what stands before it: a pass of its own would cost one more token
        begun = _common([row[:-1] for row in asked]) if asked else self._prefix_ids
        answers: list[list[Answer]] = []
        with self._preparing(_some(images)) as coming:
            for encoded in self._tiles.run(
                coming, lambda batch: self._encode([views() for views in batch], begun)
            ):
                begin = len(answers)
                some = None if draws is None else draws[begin : begin + len(encoded.shapes)]
                answers += self._answers(encoded, asked, some, in_view=in_view)
        return answers

    def encode(self, images: Sequence[Image]) -> EncodedImages:
        """Work through the pixels of images, each (H, W, 3) uint8 RGB of any size, all at once.

        Raises:
            InputError: for no images, or one of another shape or type.
        """
        return self._encode([self._views(image) for image in _some(images)], self._prefix_ids)

    def answer(
        self, encoded: EncodedImages, instructions: Sequence[str], sampling: Sampling | None = None
    ) -> list[list[Answer]]:
        """Answers as ``[image][instruction]``, see :meth:`segment`.

        Raises:
            InputError: for an instruction without words or with too many.
        """
        draws = self._draws(len(encoded.shapes), len(instructions), sampling)
        return self._answers(encoded, self._asked(instructions), draws)

    @contextmanager
    def _preparing(self, images: Sequence[Image]) -> Iterator[list[Callable[[], _Views]]]:
        """Views of images, for a GPU made beside its work; on a CPU a second thread would only take its cores."""
        if self._model.device.type == "cpu":
            yield [partial(self._views, image) for image in images]
            return
        with ThreadPoolExecutor(1, thread_name_prefix="views") as pool:
            yield [pool.submit(self._views, image).result for image in images]

    def _views(self, image: Image) -> _Views:
        config = self._model.config
        mask = processor.mask_pixels(image, config.image_size)
        language = processor.language_pixels(image, config.siglip.image_size)
        if self._model.device.type == "cuda":
            mask, language = mask.pin_memory(), language.pin_memory()
        return _Views((image.shape[0], image.shape[1]), mask, language)

    @torch.inference_mode()
    def _encode(self, views: Sequence[_Views], begun: Sequence[int]) -> EncodedImages:
        model = self._model
        mask, language = (
            torch.stack([part.to(model.device, non_blocking=True) for part in parts])
            for parts in zip(*((view.mask, view.language) for view in views), strict=True)
        )
        ids = torch.tensor(begun)
        with torch.profiler.record_function("language view"):
            tokens = model.image_tokens(processor.as_language_view(language))
        with torch.profiler.record_function("shared prompt"):
            prefix = text_generation.prefill(model, model.splice([ids] * len(views), tokens).embeds)
        with torch.profiler.record_function("mask view"):
            pixels = model.pixel_features(processor.as_mask_view(mask))
        return EncodedImages(tuple(view.shape for view in views), pixels, prefix, tuple(begun))

    def refusal(self, instruction: str) -> str | None:
        """Why an instruction cannot be answered on any image, and what to do; None if it can."""
        if not instruction.strip():
            return "it is empty: say what to segment"
        config = self._model.config
        tokens = len(prompt.inference_ids(self._tokenizer, instruction.strip()))
        surplus = tokens - 1 + config.num_image_tokens + self.max_new_tokens - config.phi.max_positions
        if surplus > 0:
            return (
                f"it is {surplus} tokens too long for {self.name}, which knows {config.phi.max_positions} "
                "positions, image and answer included: say it in fewer words"
            )
        return None

    def _asked(self, instructions: Sequence[str]) -> list[list[int]]:
        """Ids of the whole prompts."""
        for index, text in enumerate(instructions):
            if (why := self.refusal(text)) is not None:
                raise InputError(f"instruction {index} cannot be answered: {why}")
        return [prompt.inference_ids(self._tokenizer, text.strip()).tolist() for text in instructions]

    def _draws(self, images: int, asked: int, sampling: Sampling | None) -> _Draws | None:
        if sampling is None:
            return None
        table = sampling.draws(images * asked, self.max_new_tokens)
        return _Draws(sampling.temperature, table.view(images, asked, -1))

    @torch.inference_mode()
    def _answers(
        self,
        encoded: EncodedImages,
        asked: Sequence[list[int]],
        draws: _Draws | None,
        *,
        in_view: bool = False,
    ) -> list[list[Answer]]:
        images = len(encoded.shapes)
        if not asked:
            return [[] for _ in range(images)]
        shared = len(_common([encoded.begun, *(row[:-1] for row in asked)]))
        kept = shared - 1 + self._model.config.num_image_tokens
        device = self._model.device
        suffixes = [
            self._model.language.embed(torch.tensor(row[shared:]).to(device, non_blocking=True))
            for row in asked
        ]

        # all are as wide as the longest
        longest = max(len(suffix) for suffix in suffixes)
        most = gpu_memory.plan(self._model.config, self._model.dtype, self._free, longest).rows
        rows: list[list[Answer]] = [[] for _ in range(images)]

        def ask(some: range, questions: range) -> None:
            part = self._together(
                encoded,
                some,
                kept,
                suffixes[questions.start : questions.stop],
                None if draws is None else draws.of(some, questions),
                in_view=in_view,
            )
            for image, answers in zip(some, part, strict=True):
                rows[image] += answers

        self._rows.run_grid(images, len(asked), most, ask)
        return rows

    def _together(
        self,
        encoded: EncodedImages,
        images: range,
        kept: int,
        suffixes: Sequence[Tensor],
        draws: _Draws | None,
        *,
        in_view: bool,
    ) -> list[list[Answer]]:
        """Questions on consecutive images in one batch."""
        model, asked = self._model, len(suffixes)
        with torch.profiler.record_function("words"):
            told = text_generation.answers(
                model,
                encoded.prefix.part(images.start, images.stop, kept),
                suffixes,
                max_new_tokens=self.max_new_tokens,
                temperature=None if draws is None else draws.temperature,
                draws=None if draws is None else draws.table.flatten(0, 1),
            )
        with torch.profiler.record_function("masks"):
            counts, decoded = self._masks(encoded.pixels.part(images.start, images.stop), told, asked)
            rows: list[list[Answer]] = []
            for index, (found, image) in enumerate(zip(decoded, images, strict=True)):
                part = found.masks[-1]
                if in_view:
                    full = model.upsample(part.float())
                else:
                    full = processor.undo(part.float(), *encoded.shapes[image], model.config.image_size)
                if found.presence is not None:
                    # at full size: capped before, a mask's edge would move where it is interpolated
                    full = capped(full, found.presence)
                mine = counts[index * asked : (index + 1) * asked]
                words = told[index * asked : (index + 1) * asked]
                rows.append(self._worded(words, torch.split(full.cpu(), mine), found.presence))
        return rows

    def _worded(
        self, words: Sequence[Generated], masks: Sequence[Tensor], presence: Tensor | None
    ) -> list[Answer]:
        """One image's answers: its words with the (M, H, W) masks of each, and the (T,) presence of all."""
        if presence is None:
            return [
                Answer(self._text(said.ids), mask.numpy()) for said, mask in zip(words, masks, strict=True)
            ]
        parts = torch.split(presence.float().cpu(), [len(mask) for mask in masks])
        return [
            Answer(self._text(said.ids), mask.numpy(), part.numpy())
            for said, mask, part in zip(words, masks, parts, strict=True)
        ]

    def _masks(
        self, pixels: PixelFeatures, told: Sequence[Generated], asked: int
    ) -> tuple[list[int], list[Decoded]]:
        """How many masks each answer has, and per image the last masks and the presence of all its targets."""
        model = self._model
        pointing = [said.ids == model.config.seg_token_id for said in told]
        counts = [int(where.sum()) for where in pointing]
        per_image = [sum(counts[begin : begin + asked]) for begin in range(0, len(told), asked)]
        if not sum(counts):
            none = pixels.mask_features.new_zeros(0, *pixels.mask_features.shape[2:])
            nobody = None if model.presence is None else none.new_zeros(0)
            return counts, [Decoded([none], nobody)] * len(per_image)
        where = torch.cat(pointing).nonzero()[:, 0].to(model.device, non_blocking=True)
        states = torch.cat([said.hidden for said in told])[where]
        decoded = model.decode_targets(pixels, model.queries(states), per_image)
        masks = torch.split(decoded.masks[-1], per_image)
        presence = (
            [None] * len(masks) if decoded.presence is None else torch.split(decoded.presence, per_image)
        )
        return counts, [Decoded([mask], part) for mask, part in zip(masks, presence, strict=True)]

    def _text(self, ids: Tensor) -> str:
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)).strip()


@dataclass(frozen=True)
class _Draws:
    """What sampling decides by: (images, questions, steps) in 0..1."""

    temperature: float
    table: Tensor

    def __getitem__(self, images: slice) -> _Draws:
        return _Draws(self.temperature, self.table[images])

    def of(self, images: range, questions: range) -> _Draws:
        """Draws of some images and some questions."""
        part = self.table[images.start : images.stop, questions.start : questions.stop]
        return _Draws(self.temperature, part)


def _some(images: Sequence[Image]) -> Sequence[Image]:
    if not images:
        raise InputError("no images: give at least one")
    return images


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
