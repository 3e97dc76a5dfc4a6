"""Check what a segmenter is when it is loaded, and what it returns for each batch of tiles.

An operator's own segmenter is code from outside: what does not fit is refused here in one sentence that says what to
do, before it reaches masks, polygons or the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwatch.flows.errors import SegmenterError
from segwatch.geo.text.printable import sanitize
from segwatch.geo.types.segmentation import SegmentationRequest, TilePixels, TilePrediction

#: Side of a tile in pixels: smaller ones have no overlap, larger ones take gigabytes.
MIN_TILE_PX, MAX_TILE_PX = 8, 4096
#: Masks for one request, and numbered objects of one mask.
MAX_MASKS, MAX_INSTANCES = 256, 10_000
_MAX_VERSION = 200


def check_segmenter(segmenter: Any) -> tuple[str, int]:
    """Check the members of a segmenter; return its version and the side of its tiles in pixels.

    Raises
    ------
    SegmenterError
        A member is missing or cannot be used.
    """
    kind = sanitize(type(segmenter).__name__, _MAX_VERSION)
    if not callable(getattr(segmenter, "segment", None)):
        raise SegmenterError(
            f"{kind} is no segmenter: give the object that the factory returns a method segment(tiles, requests)"
        )
    version = getattr(segmenter, "version", None)
    if not isinstance(version, str) or not version.strip() or sanitize(version, _MAX_VERSION) != version:
        raise SegmenterError(
            f"the version of {kind} is {sanitize(repr(version), _MAX_VERSION)}: give it a name and version in one line "
            f"of at most {_MAX_VERSION} characters"
        )
    tile_px = getattr(segmenter, "tile_px", None)
    if (
        isinstance(tile_px, bool)
        or not isinstance(tile_px, int | np.integer)
        or not MIN_TILE_PX <= tile_px <= MAX_TILE_PX
    ):
        raise SegmenterError(
            f"tile_px of {kind} is {sanitize(repr(tile_px), _MAX_VERSION)}: give the side of its square tiles in "
            f"pixels, a whole number from {MIN_TILE_PX} to {MAX_TILE_PX}"
        )
    return version, int(tile_px)


def lock(tiles: Sequence[TilePixels]) -> list[TilePixels]:
    """Return read-only views of tiles: other requests are predicted on the same pixels."""
    views = [tile.view() for tile in tiles]
    for view in views:
        view.flags.writeable = False
    return views


def check_answer(
    rows: Any,
    tiles: Sequence[TilePixels],
    requests: Sequence[SegmentationRequest],
    *,
    takes_requests: bool,
    owes_masks: bool,
) -> list[list[TilePrediction]]:
    """Check an answer and return it with float32 masks.

    Parameters
    ----------
    rows
        What the segmenter returned, to be ``[tile][request]``.
    takes_requests
        Whether its predictions are :class:`TilePrediction` objects.
    owes_masks
        Whether it must return a mask for each target.

    Raises
    ------
    SegmenterError
        The answer does not fit the tiles and requests.
    """
    _check_count(rows, len(tiles), "tiles", "rows, one for each tile")
    checked = []
    for tile, row in zip(tiles, rows, strict=True):
        _check_count(row, len(requests), "requests", "predictions for a tile, one for each request")
        checked.append(
            [
                _check_prediction(
                    one,
                    tile.shape[:2],
                    len(request.targets) if owes_masks else 0,
                    takes_requests=takes_requests,
                )
                for one, request in zip(row, requests, strict=True)
            ]
        )
    for predictions in zip(*rows, strict=True):
        _check_for_probabilities([one.mask_logits for one in predictions])
    return checked


def _check_count(found: Any, expected: int, what: str, owed: str) -> None:
    if not isinstance(found, list | tuple):
        raise SegmenterError(f"segment returned {_name_type(found)}: return a list of {owed}")
    if len(found) != expected:
        raise SegmenterError(f"segment returned {len(found)} entries for {expected} {what}: return {owed}")


def _check_prediction(
    found: Any, shape: tuple[int, ...], targets: int, *, takes_requests: bool
) -> TilePrediction:
    if takes_requests and not isinstance(found, TilePrediction):
        raise SegmenterError(f"a prediction is {_name_type(found)}: return TilePrediction objects")
    masks, text = getattr(found, "mask_logits", None), getattr(found, "text", None)
    if not isinstance(masks, np.ndarray) or masks.dtype.kind not in "fbu":
        kind = masks.dtype if isinstance(masks, np.ndarray) else _name_type(masks)
        raise SegmenterError(
            f"mask_logits are {kind}: return an array of floating-point logits, or of bool or uint8 masks"
        )
    if not isinstance(text, str):
        raise SegmenterError(
            f"the text of a prediction is {_name_type(text)}: return a str, empty if there is none"
        )
    if masks.ndim != 3 or masks.shape[1:] != shape:
        raise SegmenterError(
            f"masks have the shape {masks.shape}: return (targets, height, width) at the tile's own size, "
            f"{shape[0]} x {shape[1]}"
        )
    if targets and len(masks) != targets:
        raise SegmenterError(f"{len(masks)} masks for {targets} targets: return one mask for each target")
    if len(masks) > MAX_MASKS:
        raise SegmenterError(f"{len(masks)} masks for one request: return at most {MAX_MASKS}")
    logits = _to_logits(masks)
    if not takes_requests:
        return TilePrediction(logits, text)
    _check_instances(found.instances)
    return TilePrediction(logits, text, found.scores, found.presence, found.instances)


def _to_logits(masks: NDArray[Any]) -> NDArray[np.float32]:
    """Convert masks to float32 logits; of bool and uint8 ones, what is not 0 is inside."""
    if masks.dtype.kind != "f":
        return np.where(masks != 0, np.float32(1), np.float32(-1))
    logits = masks.astype(np.float32, copy=False)
    if not np.isfinite(logits).all():
        raise SegmenterError(
            "mask logits are not finite (NaN or infinity): look for a division by zero or an overflow in half "
            "precision, or limit them with numpy.clip"
        )
    return logits


def _check_instances(instances: Any) -> None:
    if instances is None:
        return
    if instances.dtype.kind not in "iu":
        raise SegmenterError(
            f"instances are {instances.dtype}: return whole numbers from 1, 0 = of no object"
        )
    if instances.size and int(instances.min()) < 0:
        raise SegmenterError("instances are negative: number objects from 1, 0 = of no object")
    most = max((len(np.unique(one)) - 1 for one in instances), default=0)
    if most > MAX_INSTANCES:
        raise SegmenterError(f"{most} objects in one mask: number at most {MAX_INSTANCES}")


def _check_for_probabilities(found: Sequence[NDArray[Any]]) -> None:
    """Refuse masks of one request whose logits all lie in 0..1, some of them between: true logits hardly ever do.

    Taken as logits, probabilities would mark every pixel.
    """
    floating = [masks for masks in found if masks.dtype.kind == "f" and masks.size]
    if any(masks.min() < 0 or masks.max() > 1 for masks in floating):
        return
    if any(((masks > 0) & (masks < 1)).any() for masks in floating):
        raise SegmenterError(
            "all mask logits lie within 0..1, so they are probabilities: convert them with "
            "segwatch.geo.predictions.to_logits"
        )


def _name_type(found: object) -> str:
    return "None" if found is None else f"of type {sanitize(type(found).__name__, _MAX_VERSION)}"
