"""Segmenters that return what does not fit, for instructions with the word *odd*."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from segwatch.flows.inference.segmenters import Tiles
from segwatch.geo.types.segmentation import SegmentationRequest, TilePrediction


def _masks(tile: Any, value: Any) -> Any:
    return np.full((1, *tile.shape[:2]), value)


class Bad:
    """Marks everything; subclasses spoil the answer to an odd instruction."""

    version: Any = "bad@1"
    tile_px: Any = 64

    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> Any:
        return [
            [
                self.spoil(tile) if "odd" in one.instruction else TilePrediction(_masks(tile, np.float32(3)))
                for one in requests
            ]
            for tile in tiles
        ]

    def spoil(self, tile: Any) -> Any:
        return TilePrediction(_masks(tile, np.float32(3)))


class NotFinite(Bad):
    def spoil(self, tile: Any) -> Any:
        return TilePrediction(_masks(tile, np.float32(np.nan)))


class Probabilities(Bad):
    def spoil(self, tile: Any) -> Any:
        return TilePrediction(_masks(tile, np.float32(0.2)))


class TooManyMasks(Bad):
    def spoil(self, tile: Any) -> Any:
        return TilePrediction(np.repeat(_masks(tile, np.float32(3)), 3, axis=0))


class OtherSize(Bad):
    def spoil(self, tile: Any) -> Any:
        return TilePrediction(np.ones((1, 8, 8), np.float32))


class NoPrediction(Bad):
    def spoil(self, tile: Any) -> Any:
        return _masks(tile, np.float32(3))


class Complex(Bad):
    def spoil(self, tile: Any) -> Any:
        return TilePrediction(_masks(tile, 1j))


class NoText(Bad):
    def spoil(self, tile: Any) -> Any:
        return TilePrediction(_masks(tile, np.float32(3)), text=None)  # type: ignore[arg-type]


class Crowded(Bad):
    tile_px = 128

    def spoil(self, tile: Any) -> Any:
        masks = _masks(tile, np.float32(3))
        return TilePrediction(masks, instances=np.arange(masks.size, dtype=np.int32).reshape(masks.shape))


class NotAProbability(Bad):
    def spoil(self, tile: Any) -> Any:
        return TilePrediction(_masks(tile, np.float32(3)), presence=(float("nan"),))


class Lists(Bad):
    def spoil(self, tile: Any) -> Any:
        return TilePrediction(_masks(tile, np.float32(3)).tolist())


class Leaves(Bad):
    def spoil(self, tile: Any) -> Any:
        sys.exit("no licence")


class Writes(Bad):
    def spoil(self, tile: Any) -> Any:
        tile[:] = 0
        return super().spoil(tile)


class FewRows(Bad):
    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> Any:
        rows = super().segment(tiles, requests)
        return [row[1:] for row in rows] if any("odd" in one.instruction for one in requests) else rows


class Boolean(Bad):
    """Returns masks that say no more than in or out, which is allowed."""

    def spoil(self, tile: Any) -> Any:
        return TilePrediction(tile.max(axis=2)[None] > 0)


#: Segmenter -> words of the reason.
SPOILED = {
    NotFinite: "mask logits are not finite",
    Probabilities: "segwatch.geo.predictions.to_logits",
    TooManyMasks: "3 masks for 1 targets: return one mask for each target",
    OtherSize: "masks have the shape (1, 8, 8): return (targets, height, width) at the tile's own size, 64 x 64",
    NoPrediction: "a prediction is of type ndarray: return TilePrediction objects",
    Complex: "mask_logits are complex128: return an array of floating-point logits",
    NoText: "the text of a prediction is None: return a str",
    Crowded: "16383 objects in one mask: number at most 10000",
    NotAProbability: "presence (nan,) are not within 0..1",
    Lists: "mask_logits is of type list: give a NumPy array of (targets, height, width)",
    Leaves: "segment ended with SystemExit('no licence')",
    Writes: "read-only",
    FewRows: "segment returned 0 entries for 1 requests",
}


class Nameless(Bad):
    version = None


class TwoLines(Bad):
    version = "a\nb"


class Huge(Bad):
    tile_px = 112_000


class Lame(Bad):
    segment = None  # type: ignore[assignment]


def leave() -> Any:
    """A factory that ends the process."""
    sys.exit(3)


#: Factory -> words of the refusal when it is loaded.
UNUSABLE = {
    "Nameless": "the version of Nameless is None: give it a name and version",
    "TwoLines": "the version of TwoLines",
    "Huge": "tile_px of Huge is 112000: give the side of its square tiles in pixels, a whole number from 8 to 4096",
    "Lame": "Lame is no segmenter: give the object that the factory returns a method segment(tiles, requests)",
    "leave": "it ended with SystemExit(3); raise an error of its own instead",
}
