"""Load the segmenter that answers requests on tiles: SegEarth-R2, SAM 3, or an operator's own ``module:factory``.

The only module outside the command line and the benchmarks that imports :mod:`segwatch.model`. The version of the
configured segmenter, which keys the series, is known without torch: discovery calls :func:`get_model_version`, and only
the segment flow calls :func:`load_segmenter`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import SegmenterError
from segwatch.flows.inference.segmenter_check import (
    MAX_TILE_PX,
    MIN_TILE_PX,
    check_answer,
    check_segmenter,
    lock,
)
from segwatch.geo import identity
from segwatch.geo.predictions import to_logits
from segwatch.geo.types.segmentation import SegmentationRequest, TilePixels, TilePrediction
from segwatch.model import folder_check, model_version
from segwatch.model.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    from segwatch.model.sam3.concepts import ConceptPrediction

Tiles = Sequence[TilePixels]
#: Errors of a machine that does not have the configured segmenter.
UNAVAILABLE = (SegmenterError, ModelError)
#: Segmenters that come with segwatch and need no weights.
_SHIPPED = {"spectral": "segwatch.flows.inference.spectral:SpectralSegmenter"}
#: Architectures that come with segwatch and load weights.
SEGEARTH: Final = "segearth-r2"
SAM3: Final = "sam3"


class Segmenter(Protocol):
    """Predicts all requests on a batch of tiles."""

    @property
    def version(self) -> str:
        """Name and version, stored with every result."""

    @property
    def tile_px(self) -> int:
        """Side in pixels of the square tiles it takes."""

    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> list[list[TilePrediction]]:
        """Predict ``[tile][request]``; tiles are (H, W, 3) uint8 RGB."""


class Prediction(Protocol):
    """The prediction for one instruction on one tile, as an :class:`InstructionSegmenter` returns it."""

    @property
    def text(self) -> str:
        """Text that the model generated."""

    @property
    def mask_logits(self) -> NDArray[np.float32]:
        """(M, H, W) logits for M targets at the tile's own size; > 0 is inside."""


class InstructionSegmenter(Protocol):
    """A segmenter that takes instructions as text alone."""

    @property
    def version(self) -> str:
        """Name and version, stored with every result."""

    @property
    def tile_px(self) -> int:
        """Side in pixels of the square tiles it takes."""

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """Predict ``[tile][instruction]``; tiles are (H, W, 3) uint8 RGB."""


class _Checked:
    """A segmenter whose members and answers are checked; one that takes text alone is given that of each request."""

    def __init__(self, wrapped: Segmenter | InstructionSegmenter) -> None:
        self.version, self.tile_px = check_segmenter(wrapped)
        self.wrapped = wrapped
        # if the second parameter is called requests, it takes them
        self._takes_requests = list(inspect.signature(wrapped.segment).parameters)[1:2] == ["requests"]
        self._is_own = isinstance(wrapped, SegEarth | Sam3)

    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> list[list[TilePrediction]]:
        """See :class:`Segmenter`.

        Raises
        ------
        SegmenterError
            The answer does not fit the question, or the segmenter wants to end the process.
        """
        asked = list(requests) if self._takes_requests else [one.instruction for one in requests]
        # torch warns of read-only arrays, and segwatch's own models do not write to their tiles
        given = tiles if self._is_own else lock(tiles)
        try:
            rows = cast(Any, self.wrapped).segment(given, asked)
        except SystemExit as error:
            raise SegmenterError(
                f"segment ended with SystemExit({error.code!r}): raise an error of its own instead"
            ) from error
        # SegEarth-R2 writes as many masks as its text names
        owes_masks = self._takes_requests and not isinstance(self.wrapped, SegEarth)
        return check_answer(rows, tiles, requests, takes_requests=self._takes_requests, owes_masks=owes_masks)


def adapt(segmenter: Segmenter | InstructionSegmenter) -> Segmenter:
    """Check a segmenter, and make it take requests and return checked answers.

    Raises
    ------
    SegmenterError
        A member is missing or cannot be used.
    """
    return segmenter if isinstance(segmenter, _Checked) else _Checked(segmenter)


def unwrap(segmenter: Segmenter | InstructionSegmenter) -> Segmenter | InstructionSegmenter:
    """Return the segmenter that :func:`adapt` was given."""
    return segmenter.wrapped if isinstance(segmenter, _Checked) else segmenter


class SegEarth:
    """SegEarth-R2 behind the :class:`Segmenter` protocol: encodes pixels once for all requests.

    It reads the instruction alone; the checkpoint has a presence head, or predictions have no presence.
    """

    def __init__(self, settings: FlowSettings, path: str | None) -> None:
        # imported here: torch and transformers take seconds and a gigabyte, which only the segment flow needs
        from segwatch.model.predictor import Predictor

        self._predictor = Predictor.load(
            model_version.resolve_model_folder(path),
            settings.device,
            dtype=None,
            memory_gib=settings.memory_gib,
            compiler="inductor" if settings.compile else None,
        )
        self.version = self._predictor.version
        self.tile_px = self._predictor.tile_px

    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> list[list[TilePrediction]]:
        """See :meth:`Segmenter.segment`."""
        rows = self._predictor.segment(tiles, [one.instruction for one in requests])
        return [
            [
                TilePrediction(
                    one.mask_logits,
                    one.text,
                    presence=None if one.presence is None else _to_probabilities(one.presence),
                )
                for one in row
            ]
            for row in rows
        ]


class Sam3:
    """SAM 3 behind the :class:`Segmenter` protocol: each target is a concept, the instruction is one without targets.

    Exemplars are boxes on the tiles that show them; other tiles are segmented by the concept's words alone.
    """

    def __init__(self, settings: FlowSettings, path: str | None) -> None:
        from segwatch.model.sam3.predictor import Sam3Predictor

        self._predictor = Sam3Predictor.load(
            _locate_sam3(path), settings.device, memory_gib=settings.memory_gib
        )
        self.version = self._predictor.version
        self.tile_px = self._predictor.tile_px

    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> list[list[TilePrediction]]:
        """See :meth:`Segmenter.segment`."""
        from segwatch.model.sam3.concepts import Concept, ConceptBox

        wanted = [
            [
                Concept(
                    target,
                    tuple(
                        ConceptBox(
                            one.tile,
                            (one.box.left, one.box.top, one.box.right, one.box.bottom),
                            one.is_positive,
                        )
                        for one in request.exemplars
                        if one.target == target
                    ),
                )
                for target in request.targets or (request.instruction,)
            ]
            for request in requests
        ]
        distinct = list(dict.fromkeys(one for row in wanted for one in row))
        place = {one: at for at, one in enumerate(distinct)}
        rows = self._predictor.segment(tiles, distinct)
        return [
            [_join_concepts([row[place[one]] for one in concepts]) for concepts in wanted] for row in rows
        ]


def _join_concepts(found: Sequence[ConceptPrediction]) -> TilePrediction:
    """Join the predictions of a request's concepts, one for each target."""
    return TilePrediction(
        to_logits(np.stack([one.probabilities for one in found])),
        scores=tuple(one.score for one in found),
        presence=tuple(one.presence for one in found),
        instances=np.stack([one.instances for one in found]),
    )


def _to_probabilities(logits: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(float(one) for one in 1 / (1 + np.exp(-logits.astype(np.float64))))


def _locate_sam3(path: str | None) -> Path:
    """Locate the weights of SAM 3.

    Raises
    ------
    SegmenterError
        There is no such folder or hub id, or none is given; segwatch has no weights of SAM 3.
    """
    how = (
        "segwatch has no weights of SAM 3: accept the SAM License at https://huggingface.co/facebook/sam3, download "
        "them, and set SEGWATCH_MODEL_PATH (as a shadow: SEGWATCH_SHADOW_MODEL_PATH) to their folder, or to "
        "facebook/sam3 where you are logged in"
    )
    if path is None:
        raise SegmenterError(how)
    try:
        return model_version.resolve_model_folder(path)
    except CheckpointError as error:
        raise SegmenterError(f"{error}. {how[0].upper()}{how[1:]}") from error


def load_segmenter(settings: FlowSettings) -> Segmenter:
    """Load the configured segmenter with its weights."""
    if settings.segmenter is not None:
        return load_named(settings.segmenter)
    return load_architecture(settings.model, settings, settings.model_path)


def load_architecture(name: str, settings: FlowSettings, path: str | None) -> Segmenter:
    """Load ``segearth-r2`` or ``sam3`` with the weights of a folder or hub id."""
    return adapt(Sam3(settings, path) if name == SAM3 else SegEarth(settings, path))


def load_shadow(name: str, settings: FlowSettings) -> Segmenter:
    """Load a shadow segmenter: ``segearth-r2``, ``sam3``, ``spectral`` or ``module:factory``."""
    if name in {SEGEARTH, SAM3}:
        return load_architecture(name, settings, settings.shadow_model_path)
    return load_named(name, "SEGWATCH_SHADOW")


def find_architecture(folder: str) -> Literal["segearth-r2", "sam3"]:
    """Find the architecture of a checkpoint's folder or hub id from its configuration.

    Raises
    ------
    segwatch.model.errors.CheckpointError
        There is no such folder, or it has no readable configuration.
    """
    file = model_version.resolve_model_folder(folder) / folder_check.CONFIG_FILE
    kind = folder_check.read_config(file).get("model_type")
    return SAM3 if kind in folder_check.SAM3_TYPES else SEGEARTH


def check_checkpoint(settings: FlowSettings) -> None:
    """Check that the configured architecture could load its checkpoint, without reading the weights.

    Raises
    ------
    segwatch.model.errors.ModelError
        It cannot; the message says which file, number or tensor does not fit.
    """
    # imported here, as the architectures are: they need torch
    if settings.model == SAM3:
        from segwatch.model.sam3.loading import check_weights

        check_weights(_locate_sam3(settings.model_path))
    else:
        from segwatch.model.pretrained import check_pretrained

        check_pretrained(model_version.resolve_model_folder(settings.model_path))


def get_model_version(settings: FlowSettings) -> str:
    """Return the version of the configured segmenter without loading weights."""
    if settings.segmenter is not None:
        return load_named(settings.segmenter).version
    if settings.model == SAM3:
        return model_version.compute_version(_locate_sam3(settings.model_path), default_name=SAM3)
    return model_version.compute_version(model_version.resolve_model_folder(settings.model_path))


def is_demonstration(settings: FlowSettings) -> bool:
    """Return whether the configured segmenter is the model that ships with segwatch."""
    own = settings.segmenter is not None or settings.model == SAM3
    return not own and identity.is_demonstration(get_model_version(settings))


def find_tile_px(settings: FlowSettings) -> int | None:
    """Find the tile size of the configured segmenter without loading weights; None where only its weights tell."""
    if settings.segmenter is not None:
        return load_named(settings.segmenter).tile_px
    if settings.model == SAM3:
        return None
    folder = model_version.resolve_model_folder(settings.model_path)
    try:
        size = folder_check.read_config(folder / folder_check.CONFIG_FILE).get("image_size")
    except CheckpointError:
        return None  # whoever loads the model says what is wrong with it
    return size if isinstance(size, int) and MIN_TILE_PX <= size <= MAX_TILE_PX else None


def load_named(name: str, variable: str = "SEGWATCH_SEGMENTER") -> Segmenter:
    """Load a segmenter by its name (``spectral``) or as ``module:factory``; ``variable`` is named in errors.

    Raises
    ------
    SegmenterError
        No such module or factory can be imported, or what it makes is no segmenter.
    """
    module_name, _, attribute = _SHIPPED.get(name, name).partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
        return adapt(cast(Callable[[], Segmenter | InstructionSegmenter], factory)())
    except SegmenterError as error:
        raise SegmenterError(f"{variable}={name}: {error}") from error
    except SystemExit as error:
        raise SegmenterError(
            f"{variable}={name}: it ended with SystemExit({error.code!r}); raise an error of its own instead"
        ) from error
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SegmenterError(
            f"{variable}={name}: {error}; expected an importable module:factory, or {', '.join(_SHIPPED)}"
        ) from error
