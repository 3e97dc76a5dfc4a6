"""Predict masks and text from images and instructions: the interface of the model package.

Each image is encoded once, together with the part of the prompt before the instruction, however many instructions
follow.
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
from segwatch.model.kv_cache import PrefixCache
from segwatch.model.pixel_decoder import PixelFeatures
from segwatch.model.presence_head import cap_at_presence
from segwatch.model.processor import ImageShape
from segwatch.model.segearth import Decoded, SegEarthR2
from segwatch.model.splice import IMAGE_ID
from segwatch.model.text_generation import GeneratedText, Sampling

ImageArray = NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedImages:
    """Encoded images and the encoded beginning of their prompt; usable only with the predictor that made them."""

    image_shapes: tuple[ImageShape, ...]
    """Shape of each image."""
    pixels: PixelFeatures
    prefix: PrefixCache
    start_ids: tuple[int, ...]
    """Token ids of the prompt's beginning that ``prefix`` holds, the image placeholder among them."""


@dataclass(frozen=True)
class Prediction:
    """The model's result for one instruction on one image."""

    text: str
    """Generated text, with one ``[SEG]`` for each target."""
    mask_logits: NDArray[np.float32]
    """(M, H, W) at the image's own size, one for each ``[SEG]`` in order; > 0 is inside. (M, S, S) over the
    mask view if ``in_view`` was set. With a presence head, capped at the target's presence logit, so a
    target that is probably absent has an empty mask."""
    presence: NDArray[np.float32] | None = None
    """(M,) logits, > 0 where the target is probably present in the image; None without a presence head."""


@dataclass(frozen=True)
class _Views:
    """Both views of one image as bytes, in page-locked memory if the model is on CUDA."""

    shape: ImageShape
    mask: Tensor
    language: Tensor


class Predictor:
    """SegEarth-R2 with reproducible predictions. Not thread-safe."""

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
        self._free = gpu_memory.measure_free_bytes(model.device, memory_gib)
        self.plan = gpu_memory.plan_batches(model.config, model.dtype, self._free)
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._prefix_ids = _find_common_start(
            [
                prompt.tokenize_prompt(tokenizer, "a", model.config.prompt).tolist(),
                prompt.tokenize_prompt(tokenizer, "Q?", model.config.prompt).tolist(),
            ]
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
        """Load a predictor from a folder or a hub id.

        Parameters
        ----------
        directory
            Folder with ``config.json``, ``*.safetensors`` and tokenizer files, or a hub id; None = the shipped
            model.
        device
            "auto" = CUDA if available, else CPU.
        dtype
            Of the language model and the vision tower; the mask branch is always float32. None = bfloat16 on
            CUDA, float32 elsewhere.
        max_new_tokens
            Maximum length of the generated text; None = as configured.
        memory_gib
            Maximum GPU memory, weights included (on a CPU: working memory), GiB.
        compiler
            Backend of ``torch.compile``, such as "inductor"; None = no compilation.

        Raises
        ------
        CheckpointError
            Weights and configuration do not match.
        InputError
            The weights do not fit into ``memory_gib``.
        TokenizerError
            There is no usable tokenizer.
        """
        folder = model_version.resolve_model_folder(None if directory is None else str(directory))
        place = pretrained.resolve_device(device)
        if dtype is None:
            dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
        loaded = pretrained.load_pretrained(folder, place, dtype)
        return cls(
            loaded.model,
            loaded.tokenizer,
            model_version.compute_version(folder),
            max_new_tokens=max_new_tokens,
            memory_gib=memory_gib,
            compiler=compiler,
        )

    def segment(
        self,
        images: Sequence[ImageArray],
        instructions: Sequence[str],
        sampling: Sampling | None = None,
        *,
        in_view: bool = False,
    ) -> list[list[Prediction]]:
        """Predict all instructions on all images, in batches that fit into memory.

        For a GPU, the next images are prepared while it computes.

        Parameters
        ----------
        images
            Each (H, W, 3) uint8 RGB of any size.
        instructions
            What to segment.
        sampling
            Sample the text; None = take the likeliest tokens.
        in_view
            Return masks over the square mask view, padding included; benchmarks compare them there.

        Returns
        -------
        list of list of Prediction
            As ``[image][instruction]``. A prediction without ``[SEG]`` has no masks.

        Raises
        ------
        InputError
            There are no images, one has another shape or type, or an instruction is empty or too long.
        torch.OutOfMemoryError
            A single image or instruction does not fit into memory.
        """
        prompts, draws = (
            self._tokenize(instructions),
            self._draw_uniform(len(images), len(instructions), sampling),
        )
        # encode a single instruction together with what precedes it: a separate pass would cost one more token
        start_ids = _find_common_start([row[:-1] for row in prompts]) if prompts else self._prefix_ids
        predictions: list[list[Prediction]] = []
        with self._prepare_views(_require_images(images)) as pending:
            for encoded in self._tiles.run(
                pending, lambda batch: self._encode([views() for views in batch], start_ids)
            ):
                begin = len(predictions)
                some = None if draws is None else draws[begin : begin + len(encoded.image_shapes)]
                predictions += self._predict(encoded, prompts, some, in_view=in_view)
        return predictions

    def encode(self, images: Sequence[ImageArray]) -> EncodedImages:
        """Encode images, each (H, W, 3) uint8 RGB of any size, in one batch.

        Raises
        ------
        InputError
            There are no images, or one has another shape or type.
        """
        return self._encode([self._make_views(image) for image in _require_images(images)], self._prefix_ids)

    def predict(
        self, encoded: EncodedImages, instructions: Sequence[str], sampling: Sampling | None = None
    ) -> list[list[Prediction]]:
        """Predict instructions on encoded images; returns ``[image][instruction]``, see :meth:`segment`.

        Raises
        ------
        InputError
            An instruction is empty or too long.
        """
        draws = self._draw_uniform(len(encoded.image_shapes), len(instructions), sampling)
        return self._predict(encoded, self._tokenize(instructions), draws)

    @contextmanager
    def _prepare_views(self, images: Sequence[ImageArray]) -> Iterator[list[Callable[[], _Views]]]:
        """Make the views of images: for a GPU in a second thread, on a CPU on demand."""
        if self._model.device.type == "cpu":
            yield [partial(self._make_views, image) for image in images]
            return
        with ThreadPoolExecutor(1, thread_name_prefix="views") as pool:
            yield [pool.submit(self._make_views, image).result for image in images]

    def _make_views(self, image: ImageArray) -> _Views:
        config = self._model.config
        mask = processor.resize_for_mask(image, config.image_size)
        language = processor.resize_for_language(image, config.siglip.image_size)
        if self._model.device.type == "cuda":
            mask, language = mask.pin_memory(), language.pin_memory()
        return _Views(ImageShape(*image.shape[:2]), mask, language)

    @torch.inference_mode()
    def _encode(self, views: Sequence[_Views], start_ids: Sequence[int]) -> EncodedImages:
        model = self._model
        mask, language = (
            torch.stack([part.to(model.device, non_blocking=True) for part in parts])
            for parts in zip(*((view.mask, view.language) for view in views), strict=True)
        )
        ids = torch.tensor(start_ids)
        with torch.profiler.record_function("language view"):
            tokens = model.image_tokens(processor.normalise_language_view(language))
        with torch.profiler.record_function("shared prompt"):
            prefix = text_generation.prefill(model, model.splice([ids] * len(views), tokens).embeds)
        with torch.profiler.record_function("mask view"):
            pixels = model.pixel_features(processor.normalise_mask_view(mask))
        return EncodedImages(tuple(view.shape for view in views), pixels, prefix, tuple(start_ids))

    def find_problem(self, instruction: str) -> str | None:
        """Explain why an instruction cannot be used on any image and what to do; return None if it can."""
        if not instruction.strip():
            return "it is empty: say what to segment"
        config = self._model.config
        tokens = len(prompt.tokenize_prompt(self._tokenizer, instruction.strip(), config.prompt))
        surplus = tokens - 1 + config.num_image_tokens + self.max_new_tokens - config.phi.max_positions
        if surplus > 0:
            return (
                f"it is {surplus} tokens too long for {self.name}, which has {config.phi.max_positions} "
                "positions, image and generated text included: say it in fewer words"
            )
        return None

    def _tokenize(self, instructions: Sequence[str]) -> list[list[int]]:
        """Return the token ids of the whole prompts."""
        for index, text in enumerate(instructions):
            if (why := self.find_problem(text)) is not None:
                raise InputError(f"instruction {index} cannot be used: {why}")
        template = self._model.config.prompt
        return [
            prompt.tokenize_prompt(self._tokenizer, text.strip(), template).tolist() for text in instructions
        ]

    def _draw_uniform(self, images: int, instructions: int, sampling: Sampling | None) -> _Draws | None:
        if sampling is None:
            return None
        table = sampling.draw_uniform(images * instructions, self.max_new_tokens)
        return _Draws(sampling.temperature, table.view(images, instructions, -1))

    @torch.inference_mode()
    def _predict(
        self,
        encoded: EncodedImages,
        prompts: Sequence[list[int]],
        draws: _Draws | None,
        *,
        in_view: bool = False,
    ) -> list[list[Prediction]]:
        images = len(encoded.image_shapes)
        if not prompts:
            return [[] for _ in range(images)]
        shared = len(_find_common_start([encoded.start_ids, *(row[:-1] for row in prompts)]))
        prefix_length = shared - 1 + self._model.config.num_image_tokens
        device = self._model.device
        suffixes = [
            self._model.language.embed(torch.tensor(row[shared:]).to(device, non_blocking=True))
            for row in prompts
        ]

        # all suffixes are padded to the longest
        longest = max(len(suffix) for suffix in suffixes)
        max_rows = gpu_memory.plan_batches(self._model.config, self._model.dtype, self._free, longest).rows
        rows: list[list[Prediction]] = [[] for _ in range(images)]

        def predict_block(some: range, instructions: range) -> None:
            part = self._predict_batch(
                encoded,
                some,
                prefix_length,
                suffixes[instructions.start : instructions.stop],
                None if draws is None else draws.select(some, instructions),
                in_view=in_view,
            )
            for image, predictions in zip(some, part, strict=True):
                rows[image] += predictions

        self._rows.run_grid(images, len(prompts), max_rows, predict_block)
        return rows

    def _predict_batch(
        self,
        encoded: EncodedImages,
        images: range,
        prefix_length: int,
        suffixes: Sequence[Tensor],
        draws: _Draws | None,
        *,
        in_view: bool,
    ) -> list[list[Prediction]]:
        """Predict instructions on consecutive images in one batch."""
        model, count = self._model, len(suffixes)
        with torch.profiler.record_function("words"):
            texts = text_generation.generate_texts(
                model,
                encoded.prefix.select(images.start, images.stop, prefix_length),
                suffixes,
                max_new_tokens=self.max_new_tokens,
                temperature=None if draws is None else draws.temperature,
                uniform_draws=None if draws is None else draws.table.flatten(0, 1),
            )
        with torch.profiler.record_function("masks"):
            counts, decoded = self._decode_masks(
                encoded.pixels.select(images.start, images.stop), texts, count
            )
            rows: list[list[Prediction]] = []
            for index, (found, image) in enumerate(zip(decoded, images, strict=True)):
                part = found.masks[-1]
                if in_view:
                    full = model.upsample(part.float())
                else:
                    full = processor.restore_image_size(
                        part.float(), encoded.image_shapes[image], model.config.image_size
                    )
                if found.presence is not None:
                    # cap at full size: capping before the interpolation would move the masks' edges
                    full = cap_at_presence(full, found.presence)
                mine = counts[index * count : (index + 1) * count]
                words = texts[index * count : (index + 1) * count]
                rows.append(self._to_predictions(words, torch.split(full.cpu(), mine), found.presence))
        return rows

    def _to_predictions(
        self, words: Sequence[GeneratedText], masks: Sequence[Tensor], presence: Tensor | None
    ) -> list[Prediction]:
        """Build one image's predictions from its texts, the (M, H, W) masks of each and the (T,) presence of all."""
        if presence is None:
            return [
                Prediction(self._decode_text(text.ids), mask.numpy())
                for text, mask in zip(words, masks, strict=True)
            ]
        parts = torch.split(presence.float().cpu(), [len(mask) for mask in masks])
        return [
            Prediction(self._decode_text(text.ids), mask.numpy(), part.numpy())
            for text, mask, part in zip(words, masks, parts, strict=True)
        ]

    def _decode_masks(
        self, pixels: PixelFeatures, texts: Sequence[GeneratedText], count: int
    ) -> tuple[list[int], list[Decoded]]:
        """Return the number of masks of each text, and for each image the masks and presence of all its targets."""
        model = self._model
        pointing = [text.ids == model.config.seg_token_id for text in texts]
        counts = [int(where.sum()) for where in pointing]
        per_image = [sum(counts[begin : begin + count]) for begin in range(0, len(texts), count)]
        if not sum(counts):
            none = pixels.mask_features.new_zeros(0, *pixels.mask_features.shape[2:])
            no_presence = None if model.presence is None else none.new_zeros(0)
            return counts, [Decoded([none], no_presence)] * len(per_image)
        where = torch.cat(pointing).nonzero()[:, 0].to(model.device, non_blocking=True)
        states = torch.cat([text.hidden for text in texts])[where]
        decoded = model.decode_targets(pixels, model.queries(states), per_image)
        masks = torch.split(decoded.masks[-1], per_image)
        presence = (
            [None] * len(masks) if decoded.presence is None else torch.split(decoded.presence, per_image)
        )
        return counts, [Decoded([mask], part) for mask, part in zip(masks, presence, strict=True)]

    def _decode_text(self, ids: Tensor) -> str:
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)).strip()


@dataclass(frozen=True)
class _Draws:
    """Random numbers for sampling: (images, instructions, steps) in 0..1."""

    temperature: float
    table: Tensor

    def __getitem__(self, images: slice) -> _Draws:
        return _Draws(self.temperature, self.table[images])

    def select(self, images: range, instructions: range) -> _Draws:
        """Select the numbers of some images and instructions."""
        part = self.table[images.start : images.stop, instructions.start : instructions.stop]
        return _Draws(self.temperature, part)


def _require_images(images: Sequence[ImageArray]) -> Sequence[ImageArray]:
    if not images:
        raise InputError("no images: give at least one")
    return images


def _find_common_start(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the longest common start of all rows; it must contain the image placeholder."""
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
