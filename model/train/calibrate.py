"""``python -m segwatch.model.train.calibrate``: calibrate a presence head on places that it was not trained on.

A presence head is overconfident on its training pictures. The logits of each target are scaled and shifted so that 0
separates presence from absence, with equal weight, on the calibration places and on simulated scenes of their own. The
places for evaluation are different ones.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwatch.model import held_out_places, model_version, pretrained
from segwatch.model.errors import CheckpointError
from segwatch.model.predictor import Predictor
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import crop_pool, instructions, query_bank, scenes
from segwatch.model.train.labelled_sample import LabelledPicture

_log = logging.getLogger(__name__)

_FIRST_SEED = 600_000
"""Seeds of simulated scenes from here on are used neither for training nor for evaluation."""
_MIN_TILES_EACH = 5  # minimum tiles with and without the target for a fit
_REGULARISATION = 0.02  # regularisation towards unchanged logits
_PHRASES = 12
_TARGETS: tuple[str, ...] = scenes.TARGETS


@dataclass(frozen=True)
class CalibrationFit:
    """Scale and shift of one target's logits."""

    scale: float
    shift: float
    present: int
    """Number of tiles with the target in the fit."""
    absent: int
    """Number of tiles without the target in the fit."""


def fit_calibration(logits: Sequence[float], present: Sequence[bool]) -> CalibrationFit:
    """Fit scale and shift of logits to predict presence, both classes weighing the same.

    With too few tiles of either class the logits stay unchanged.
    """
    there, values = torch.tensor(present), torch.tensor(logits, dtype=torch.float64)
    count, gone = int(there.sum()), int((~there).sum())
    if min(count, gone) < _MIN_TILES_EACH:
        return CalibrationFit(1.0, 0.0, count, gone)
    weight = torch.where(there, 0.5 / count, 0.5 / gone).double()
    log_scale, shift = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.LBFGS([log_scale, shift], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        calibrated = values * log_scale.exp() + shift
        loss = F.binary_cross_entropy_with_logits(calibrated, there.double(), weight, reduction="sum")
        loss = loss + _REGULARISATION * (log_scale**2 + shift**2)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return CalibrationFit(float(log_scale.detach().exp()), float(shift.detach()), count, gone)


def calibrate_presence(
    folder: Path, root: Path, *, made: int = 120, most: int = 60
) -> dict[str, CalibrationFit]:
    """Calibrate the model of a folder in place, which makes another version of it.

    Parameters
    ----------
    folder
        Of the model.
    root
        Of the labelled sets, or their archive.
    made
        Number of simulated scenes to fit on beside the calibration places.
    most
        Pictures of each set.

    Raises
    ------
    CheckpointError
        If the model has no presence head or can calibrate fewer targets.
    DatasetError
        If the labelled sets cannot be read.
    """
    loaded = pretrained.load_pretrained(folder, "cpu")
    model, targets = loaded.model, _TARGETS
    if model.presence is None or len(model.presence.scale) < len(targets):
        raise CheckpointError(
            f"{folder}: no presence head for {len(targets)} targets; train one, see [masks]"
        )
    _reset_calibration(model)
    samples = [*held_out_places.load_pictures(root, None, "calibrate", most), *_make_samples(made)]
    seen = _collect_logits(Predictor(model, loaded.tokenizer, model_version.compute_version(folder)), samples)
    fits = {
        name: fit_calibration([one for one, _ in seen[name]], [two for _, two in seen[name]])
        for name in targets
    }
    pictures = [sample.rgb for sample in samples[:: max(len(samples) // _PHRASES, 1)]]
    queries = query_bank.compute_bank(model, loaded.tokenizer, targets, pictures, _PHRASES, seed=0)
    model.presence.set_calibration(
        torch.stack([queries[name].mean(0) for name in targets]),
        torch.tensor([fits[name].scale for name in targets]),
        torch.tensor([fits[name].shift for name in targets]),
    )
    pretrained.save_pretrained(model, loaded.tokenizer, folder, torch.float16)
    return fits


def _reset_calibration(model: SegEarthR2) -> None:
    """Remove the calibration."""
    head = model.presence
    assert head is not None  # noqa: S101 - checked by the caller
    head.set_calibration(
        torch.zeros_like(head.anchors), torch.ones_like(head.scale), torch.zeros_like(head.shift)
    )


def _make_samples(count: int) -> list[LabelledPicture]:
    return [crop_pool.make_scene_sample(_FIRST_SEED + index, scenes.ALL_CLASSES) for index in range(count)]


def _collect_logits(
    predictor: Predictor, samples: Sequence[LabelledPicture]
) -> dict[str, list[tuple[float, bool]]]:
    """Return for each target the logit of every tile of known presence, and the presence."""
    seen: dict[str, list[tuple[float, bool]]] = {name: [] for name in _TARGETS}
    for sample in samples:
        for rgb, states in _iterate_tiles(sample, predictor.tile_px):
            texts = [f"segment the {instructions.TARGET_NOUNS[name][0]}" for name in states]
            (answers,) = predictor.segment([rgb], texts)
            for (name, present), answer in zip(states.items(), answers, strict=True):
                if answer.presence is not None and len(answer.presence):
                    seen[name].append((float(answer.presence[0]), present))
    return seen


def _iterate_tiles(sample: LabelledPicture, side: int) -> Iterator[tuple[NDArray[np.uint8], dict[str, bool]]]:
    """Yield tiles with mirrored borders, and the presence of each target that is known."""
    labels = {name: sample.label(name) for name in _TARGETS}
    height, width = sample.rgb.shape[:2]
    for top in range(0, height, side):
        for left in range(0, width, side):
            window = (slice(top, top + side), slice(left, left + side))
            parts = {name: label[window] for name, label in labels.items() if label is not None}
            states = {name: crop_pool.get_presence(label) for name, label in parts.items()}
            known = {name: state for name, state in states.items() if state is not None}
            if known:
                rgb = sample.rgb[window]
                gap = ((0, side - rgb.shape[0]), (0, side - rgb.shape[1]), (0, 0))
                yield np.pad(rgb, gap, mode="symmetric"), known


def main(arguments: list[str] | None = None) -> None:
    """Calibrate a model's presence head in place."""
    parser = argparse.ArgumentParser(
        prog="python -m segwatch.model.train.calibrate", description=main.__doc__
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the model, which is changed")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the labelled sets, or their archive"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name, found in calibrate_presence(options.model.expanduser(), options.data).items():
        _log.info("%s: %s", name, found)


if __name__ == "__main__":
    main()
