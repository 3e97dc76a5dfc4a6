"""What a segmenter is asked on tiles, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

#: A tile as segmenters take it: (H, W, 3) uint8 RGB.
TilePixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PixelBox:
    """A box in pixels of one tile, edges included; its sides may lie between pixels."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class ReviewedObject:
    """An object that a person accepted, edited or rejected."""

    target: str
    geometry: BaseGeometry
    """As drawn by the person, else as observed; EPSG:4326."""
    is_positive: bool
    """False: it was rejected."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """An object that a person reviewed, as an example of a target."""

    tile: int
    """Position of the tile, in the same call, that shows it."""
    target: str
    """Label of the target."""
    box: PixelBox
    """Bounds of the part of the object that the tile shows."""
    is_positive: bool = True
    """False: what the box shows was rejected; it is not the target."""


@dataclass(frozen=True, slots=True)
class SegmentationRequest:
    """What to segment on tiles of one source."""

    instruction: str
    targets: tuple[str, ...] = ()
    """Labels of targets 1..M, in the order of the masks; empty = the instruction alone says what to segment."""
    gsd_m: float | None = None
    """Ground sample distance of the tiles, metres; None = unknown."""
    exemplars: tuple[Exemplar, ...] = ()
    """Examples that a segmenter may use."""


@dataclass(frozen=True, slots=True, eq=False)
class TilePrediction:
    """The prediction for one request on one tile.

    Raises
    ------
    TypeError
        Masks or instances are no NumPy array, or scores or presence no sequence of numbers.
    ValueError
        The parts have not one entry for each mask, or another size than the masks.
    """

    mask_logits: NDArray[np.float32]
    """(M, H, W) for M targets at the tile's own size; > 0 is inside."""
    text: str = ""
    """Text that the segmenter generated."""
    scores: tuple[float, ...] | None = None
    """(M,) how sure it is of each mask, 0..1; no pixel inside counts as surer. None = the masks alone say it."""
    presence: tuple[float, ...] | None = None
    """(M,) probability that the target is in the tile at all, 0..1; below 0.5 its mask counts as empty. None = the
    segmenter has no such output."""
    instances: NDArray[np.int32] | None = None
    """(M, H, W): number of the object that a pixel belongs to, from 1 for each target; 0 = of no object. None = objects
    are connected regions of the mask."""

    def __post_init__(self) -> None:
        for name, array in (("mask_logits", self.mask_logits), ("instances", self.instances)):
            if not isinstance(array, np.ndarray) and (array is not None or name == "mask_logits"):
                raise TypeError(
                    f"{name} is of type {type(array).__name__}: give a NumPy array of (targets, height, width)"
                )
        if self.mask_logits.ndim != 3:
            raise ValueError(
                f"mask logits of shape {self.mask_logits.shape} are not (targets, height, width)"
            )
        count = len(self.mask_logits)
        for name, values in (("scores", self.scores), ("presence", self.presence)):
            if values is None:
                continue
            if not isinstance(values, Sequence | np.ndarray) or not all(
                isinstance(one, Real) for one in values
            ):
                raise TypeError(f"{name} is {values!r}: give a tuple of numbers, one for each mask")
            if len(values) != count:
                raise ValueError(f"{len(values)} {name} do not fit {count} masks")
            if not all(0 <= one <= 1 for one in values):
                raise ValueError(f"{name} {values} are not within 0..1")
        if self.instances is not None and self.instances.shape != self.mask_logits.shape:
            raise ValueError(
                f"instances of shape {self.instances.shape} do not fit masks of {self.mask_logits.shape}"
            )
