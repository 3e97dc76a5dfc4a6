"""Load the segmenter that predicts instructions on tiles: SegEarth-R2, or an operator's own ``module:factory``.

The only module outside the command line and the benchmarks that imports :mod:`segwatch.model`. The version of the
configured segmenter, which keys the series, is known without torch: discovery calls :func:`get_model_version`, and only
the segment flow calls :func:`load_segmenter`.
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
#: Segmenters that come with segwatch and need no weights.
_SHIPPED = {"spectral": "segwatch.flows.inference.spectral:SpectralSegmenter"}


class Prediction(Protocol):
    """The prediction for one instruction on one tile."""

    @property
    def text(self) -> str:
        """Text that the model generated."""

    @property
    def mask_logits(self) -> NDArray[np.float32]:
        """(M, H, W) logits for M targets at the tile's own size; > 0 is inside."""


class Segmenter(Protocol):
    """Predicts all instructions on a batch of tiles."""

    @property
    def version(self) -> str:
        """Name and version, stored with every result."""

    @property
    def tile_px(self) -> int:
        """Side in pixels of the square tiles it takes."""

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """Predict ``[tile][instruction]``; tiles are (H, W, 3) uint8 RGB."""


class SegEarth:
    """SegEarth-R2 behind the :class:`Segmenter` protocol: encodes pixels once for all instructions."""

    def __init__(self, settings: FlowSettings) -> None:
        # imported here: torch and transformers take seconds and a gigabyte, which only the segment flow needs
        from segwatch.model.predictor import Predictor

        self._predictor = Predictor.load(
            model_version.resolve_model_folder(settings.model_path),
            settings.device,
            dtype=None,
            memory_gib=settings.memory_gib,
            compiler="inductor" if settings.compile else None,
        )
        self.version = self._predictor.version
        self.tile_px = self._predictor.tile_px

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """See :meth:`Segmenter.segment`."""
        return cast(list[list[Prediction]], self._predictor.segment(tiles, instructions))


def load_segmenter(settings: FlowSettings) -> Segmenter:
    """Load the configured segmenter with its weights."""
    return SegEarth(settings) if settings.segmenter is None else load_named(settings.segmenter)


def get_model_version(settings: FlowSettings) -> str:
    """Return the version of the configured segmenter without loading weights."""
    if settings.segmenter is not None:
        return load_named(settings.segmenter).version
    return model_version.compute_version(model_version.resolve_model_folder(settings.model_path))


def load_named(name: str, variable: str = "SEGWATCH_SEGMENTER") -> Segmenter:
    """Load a segmenter by its name (``spectral``) or as ``module:factory``; ``variable`` is named in errors.

    Raises
    ------
    SegmenterError
        No such module or factory can be imported.
    """
    module_name, _, attribute = _SHIPPED.get(name, name).partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SegmenterError(
            f"{variable}={name}: {error}; expected an importable module:factory, or {', '.join(_SHIPPED)}"
        ) from error
    return cast(Callable[[], Segmenter], factory)()
