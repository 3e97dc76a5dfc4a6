"""Build batches of image views, instructions, texts and masks; a pure function of seed and step."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwatch.model import processor, prompt
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import DatasetError
from segwatch.model.referring.samples import ReferringSample, read_rgb
from segwatch.model.train import demo_imagery, instructions
from segwatch.model.train.config import Mix
from segwatch.model.train.losses import make_attention_grid
from segwatch.model.train.scenes import Scene

_log = logging.getLogger(__name__)

_DRAWS = 100
"""Maximum images drawn in search of one that can be used."""


@dataclass(frozen=True)
class Batch:
    """B images with P pairs of instruction and text; T targets in order of pair, then of [SEG]."""

    images: Tensor
    """(B, 3, S, S) mask views."""
    images_clip: Tensor
    """(B, 3, C, C) language views."""
    image_of_pair: Tensor
    """(P,) int64 image of each pair, ascending."""
    ids: list[prompt.TrainingExample]
    """P teacher-forced examples."""
    masks: Tensor
    """(T, S / 4, S / 4) share of each cell of the mask view that the target covers, 0..1."""
    grids: Tensor
    """(T, g, g) 1 on cells of the language view that the target touches."""
    known: Tensor
    """(T, S / 4, S / 4) share of each cell that is labelled, 0..1; the rest does not count in the mask losses."""
    present: Tensor
    """(T,) 1 where the target is present, 0 where its mask is empty."""

    def to(self, device: torch.device) -> Batch:
        """Move pixels and masks to a device; ids stay on the CPU, where they are read."""
        return replace(
            self,
            images=self.images.to(device),
            images_clip=self.images_clip.to(device),
            masks=self.masks.to(device),
            grids=self.grids.to(device),
            known=self.known.to(device),
            present=self.present.to(device),
        )


@dataclass(frozen=True)
class TrainingPair:
    """One instruction, the text to learn, and the masks of its [SEG] in order."""

    instruction: str
    answer: str
    masks: tuple[NDArray[np.bool_], ...]
    """(H, W) each."""
    known: tuple[NDArray[np.bool_], ...] | None = None
    """(H, W) each, where the masks are labelled; None = everywhere."""


@dataclass(frozen=True)
class InstructedImage:
    """An image with its training pairs."""

    image: NDArray[np.uint8]
    """(H, W, 3)."""
    pairs: list[TrainingPair]


class InstructionSource(Protocol):
    """Source of images with instructions."""

    def draw_image(self, rng: np.random.Generator, max_pairs: int) -> InstructedImage:
        """Draw an image with up to ``max_pairs`` instructions, at least one."""


class SceneSource:
    """Simulated scenes, kept in memory, and crops of the demo imagery."""

    def __init__(
        self, made: Sequence[Scene], pictures: Sequence[demo_imagery.DemoPicture], real_share: float, mix: Mix
    ) -> None:
        self.made = list(made)
        self.mix = mix
        self.weights = balance_weights(made) if mix.balanced else instructions.DEFAULT_WEIGHTS
        self.real_share = real_share if pictures else 0.0
        self._by_source = [
            [picture for picture in pictures if picture.source == source]
            for source in sorted({picture.source for picture in pictures})
        ]
        self._chances = [2.0 if group[0].source == "naip" else 1.0 for group in self._by_source]

    def draw(self, rng: np.random.Generator) -> Scene:
        """Draw one scene or crop, randomly rotated and relit."""
        if rng.random() < self.real_share:
            chances = np.array(self._chances) / sum(self._chances)
            group = self._by_source[int(rng.choice(len(chances), p=chances))]
            return demo_imagery.draw_crop(rng, group[int(rng.integers(len(group)))])
        scene = self.made[int(rng.integers(len(self.made)))]
        return demo_imagery.turn_randomly(
            rng, replace(scene, image=demo_imagery.jitter_colours(rng, scene.image))
        )

    def draw_image(self, rng: np.random.Generator, max_pairs: int) -> InstructedImage:
        """Draw an image, see :class:`InstructionSource`.

        Raises
        ------
        DatasetError
            Many images in a row have no usable target.
        """
        for _ in range(_DRAWS):
            scene = self.draw(rng)
            made = instructions.draw_pairs(
                rng, sorted(scene.masks), sorted(scene.absent), max_pairs, self.mix, self.weights
            )
            if made:
                break
        else:
            raise DatasetError(
                f"{_DRAWS} images in a row have no target that is certainly present or absent; give others"
            )
        empty = np.zeros(scene.image.shape[:2], dtype=np.bool_)
        return InstructedImage(
            scene.image,
            [
                TrainingPair(
                    pair.instruction,
                    pair.answer,
                    tuple(scene.masks.get(name, empty) for name in pair.targets),
                )
                for pair in made
            ],
        )


def balance_weights(made: Sequence[Scene]) -> instructions.TargetWeights:
    """Return the default weights, each divided by how many scenes contain (or certainly lack) the target.

    Otherwise a target in few scenes is nearly always absent when it is asked for, and the model learns to deny
    it.
    """

    def divide_by_count(scenes_of: Counter[str]) -> dict[str, float]:
        return {name: instructions.WEIGHTS.get(name, 1.0) / count for name, count in scenes_of.items()}

    return instructions.TargetWeights(
        divide_by_count(Counter(name for scene in made for name in scene.masks)),
        divide_by_count(Counter(name for scene in made for name in scene.absent)),
    )


class ReferringSource:
    """A public data set, see :mod:`segwatch.model.referring`."""

    def __init__(self, samples: Sequence[ReferringSample]) -> None:
        by_image: dict[str, list[ReferringSample]] = {}
        for sample in samples:
            by_image.setdefault(str(sample.image), []).append(sample)
        self._groups = list(by_image.values())

    def draw_image(self, rng: np.random.Generator, max_pairs: int) -> InstructedImage:
        """Draw an image, see :class:`InstructionSource`; unreadable ones are logged and another is drawn.

        Raises
        ------
        DatasetError
            Many images in a row are unreadable.
        """
        for _ in range(_DRAWS):
            try:
                return self._draw(rng, max_pairs)
            except DatasetError as error:
                _log.warning("left out: %s", error)
                last = error
        raise DatasetError(f"{_DRAWS} images in a row cannot be used, the last one: {last}") from last

    def _draw(self, rng: np.random.Generator, max_pairs: int) -> InstructedImage:
        group = self._groups[int(rng.integers(len(self._groups)))]
        chosen = rng.permutation(len(group))[:max_pairs]
        image = read_rgb(group[0].image)
        examples = [
            TrainingPair(group[index].instruction, group[index].answer, tuple(group[index].truth()))
            for index in chosen
        ]
        for one in examples:
            if one.answer.count(prompt.SEG) != len(one.masks) or any(
                mask.shape != image.shape[:2] for mask in one.masks
            ):
                raise DatasetError(
                    f"{group[0].image}: masks of {one.instruction!r} do not fit answer or image"
                )
        return InstructedImage(image, examples)


class MixedSource:
    """Several sources, each with its share of the images."""

    def __init__(self, sources: Sequence[InstructionSource], shares: Sequence[float]) -> None:
        self._sources = list(sources)
        self._shares = np.array(shares) / sum(shares)

    def draw_image(self, rng: np.random.Generator, max_pairs: int) -> InstructedImage:
        """Draw an image from one of the sources, see :class:`InstructionSource`."""
        chosen = int(rng.choice(len(self._sources), p=self._shares))
        return self._sources[chosen].draw_image(rng, max_pairs)


def build_batch(
    source: InstructionSource,
    tokenizer: Any,
    config: SegEarthConfig,
    *,
    seed: int,
    step: int,
    images: int,
    pairs_per_image: int,
    size: int,
) -> Batch:
    """Build the batch of a step; the same arguments always give the same batch.

    Parameters
    ----------
    source
        What to draw from.
    tokenizer
        Of the model.
    config
        Of the model.
    seed
        Of the run.
    step
        Of the run, from 0.
    images
        B.
    pairs_per_image
        Instructions of each image.
    size
        Side of the mask view, a multiple of 32; may be smaller than the model's own.
    """
    rng = np.random.default_rng((seed, step))
    views, clips, owners, examples, masks, grids, known = [], [], [], [], [], [], []
    for index in range(images):
        drawn = source.draw_image(rng, pairs_per_image)
        views.append(processor.make_mask_view(drawn.image, size))
        clips.append(processor.make_language_view(drawn.image, config.siglip.image_size))
        for pair in drawn.pairs:
            layout: Literal["ask", "refer"] = "refer" if rng.random() < 0.1 else "ask"
            examples.append(
                prompt.tokenize_example(tokenizer, pair.instruction, pair.answer, layout, config.prompt)
            )
            owners.append(index)
            for part in pair.masks:
                mask = torch.from_numpy(part).float()
                masks.append(resize_mask_to_view(mask, size))
                grids.append(make_attention_grid(mask[None], config.siglip.grid_side)[0])
            for where in pair.known or [np.ones_like(part) for part in pair.masks]:
                known.append(resize_mask_to_view(torch.from_numpy(where).float(), size))
    side = config.siglip.grid_side
    truth = torch.stack(masks) if masks else torch.zeros(0, size // 4, size // 4)
    return Batch(
        images=torch.stack(views),
        images_clip=torch.stack(clips),
        image_of_pair=torch.tensor(owners, dtype=torch.long),
        ids=examples,
        masks=truth,
        grids=torch.stack(grids) if grids else torch.zeros(0, side, side),
        known=torch.stack(known) if known else torch.zeros(0, size // 4, size // 4),
        present=(truth.flatten(1).amax(1) > 0).float() if masks else torch.zeros(0),
    )


def resize_mask_to_view(mask: Tensor, size: int) -> Tensor:
    """Resize an image's (H, W) mask to (size / 4, size / 4) covered shares, padded as the mask view."""
    height, width = processor.compute_resized_shape(processor.ImageShape(*mask.shape), size)
    resized = F.interpolate(mask[None, None], size=(height, width), mode="bilinear", antialias=True)
    padded = F.pad(resized, (0, size - width, 0, size - height))
    return F.avg_pool2d(padded, 4)[0, 0]
