"""What answers instructions on tiles: SegEarth-R2, or an operator's own ``module:factory``.

Knowing *which* segmenter is configured (its version keys the series) must not need torch, so discovery
asks :func:`version_of` and only the segment flow calls :func:`load`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import SegmenterError
from segwatch.model import model_version

Tiles = Sequence[NDArray[np.uint8]]


class Answer(Protocol):
    """One instruction answered on one tile."""

    @property
    def text(self) -> str:
        """The model's words."""

    @property
    def mask_logits(self) -> NDArray[np.float32]:
        """(M, H, W) at the tile's own size, M targets; > 0 is inside."""


class Segmenter(Protocol):
    """Answers all instructions on a batch of tiles."""

    @property
    def version(self) -> str:
        """Name and version, stored with every result."""

    @property
    def tile_px(self) -> int:
        """Side of the square tiles it looks at."""

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Answer]]:
        """Answers as ``[tile][instruction]``; tiles are (H, W, 3) uint8 RGB."""


class SegEarth:
    """SegEarth-R2 behind the :class:`Segmenter` protocol: pixels encoded once, all instructions asked."""

    def __init__(self, settings: FlowSettings) -> None:
        # torch and transformers take seconds and a gigabyte: only the segment flow pays for them
        from segwatch.model.predictor import Predictor

        self._predictor = Predictor.load(
            model_version.resolve(settings.model_path),
            settings.device,
            dtype=None,
            memory_gib=settings.memory_gib,
            compiler="inductor" if settings.compile else None,
        )
        self.version = self._predictor.version
        self.tile_px = self._predictor.tile_px

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Answer]]:
        """See :meth:`Segmenter.segment`."""
        return cast(list[list[Answer]], self._predictor.segment(tiles, instructions))


def load(settings: FlowSettings) -> Segmenter:
    """The configured segmenter, ready to answer."""
    return SegEarth(settings) if settings.segmenter is None else _plugin(settings.segmenter)


def version_of(settings: FlowSettings) -> str:
    """Version of the configured segmenter, without loading weights."""
    if settings.segmenter is not None:
        return _plugin(settings.segmenter).version
    return model_version.version(model_version.resolve(settings.model_path))


def _plugin(name: str) -> Segmenter:
    module_name, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SegmenterError(
            f"SEGWATCH_SEGMENTER={name}: {error}; expected an importable module:factory"
        ) from error
    return cast(Callable[[], Segmenter], factory)()
