"""``python -m segwatch.model.train.calibrate``: fit a presence head's thresholds on places that taught it nothing.

A presence head is surer of its training pictures than of others. Each target's logits are scaled and shifted so that
0 separates, on the calibration places and on made scenes of their own, where it is there from where it is absent, both
counting the same. The judged places are others again.
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
"""Made scenes from here on are neither trained on nor judged by."""
_LEAST_EACH = 5  # tiles with and without a target, to fit anything
_PULL = 0.02  # towards leaving the logits as they are
_PHRASES = 12
_TARGETS: tuple[str, ...] = scenes.TARGETS


@dataclass(frozen=True)
class CalibrationFit:
    """What one target's logits are scaled and shifted by."""

    scale: float
    shift: float
    present: int
    """Tiles that it was fitted on: with the target,"""
    absent: int
    """and without."""


def fit_calibration(logits: Sequence[float], present: Sequence[bool]) -> CalibrationFit:
    """Scale and shift of logits that tell presence best, both classes weighing the same.

    With too few of either class the logits stay as they are.
    """
    there, values = torch.tensor(present), torch.tensor(logits, dtype=torch.float64)
    count, gone = int(there.sum()), int((~there).sum())
    if min(count, gone) < _LEAST_EACH:
        return CalibrationFit(1.0, 0.0, count, gone)
    weight = torch.where(there, 0.5 / count, 0.5 / gone).double()
    log_scale, shift = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.LBFGS([log_scale, shift], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        told = values * log_scale.exp() + shift
        loss = F.binary_cross_entropy_with_logits(told, there.double(), weight, reduction="sum")
        loss = loss + _PULL * (log_scale**2 + shift**2)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return CalibrationFit(float(log_scale.detach().exp()), float(shift.detach()), count, gone)


def calibrate_presence(
    folder: Path, root: Path, *, made: int = 120, most: int = 60
) -> dict[str, CalibrationFit]:
    """Calibrate the model of a folder in place, and so make another version of it.

    Args:
        folder: of the model.
        root: of the labelled sets, or their archive.
        made: made scenes to fit on beside the calibration places.
        most: pictures of each set.

    Raises:
        CheckpointError: if the model has no presence head or can calibrate fewer targets.
        DatasetError: if the labelled sets cannot be read.
    """
    loaded = pretrained.load_pretrained(folder, "cpu")
    model, targets = loaded.model, _TARGETS
    if model.presence is None or len(model.presence.scale) < len(targets):
        raise CheckpointError(
            f"{folder}: no presence head for {len(targets)} targets; train one, see [masks]"
        )
    _reset(model)
    samples = [*held_out_places.load_pictures(root, None, "calibrate", most), *_made(made)]
    seen = _seen(Predictor(model, loaded.tokenizer, model_version.version(folder)), samples)
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


def _reset(model: SegEarthR2) -> None:
    """Logits as learned."""
    head = model.presence
    assert head is not None  # noqa: S101 - the caller has looked
    head.set_calibration(
        torch.zeros_like(head.anchors), torch.ones_like(head.scale), torch.zeros_like(head.shift)
    )


def _made(count: int) -> list[LabelledPicture]:
    return [crop_pool.make_scene_sample(_FIRST_SEED + index, scenes.ALL_CLASSES) for index in range(count)]


def _seen(predictor: Predictor, samples: Sequence[LabelledPicture]) -> dict[str, list[tuple[float, bool]]]:
    """Per target the logit of every tile that surely holds it or surely lacks it, and which of the two."""
    seen: dict[str, list[tuple[float, bool]]] = {name: [] for name in _TARGETS}
    for sample in samples:
        for rgb, states in _tiles(sample, predictor.tile_px):
            asked = [f"segment the {instructions.TARGET_NOUNS[name][0]}" for name in states]
            (answers,) = predictor.segment([rgb], asked)
            for (name, present), answer in zip(states.items(), answers, strict=True):
                if answer.presence is not None and len(answer.presence):
                    seen[name].append((float(answer.presence[0]), present))
    return seen


def _tiles(sample: LabelledPicture, side: int) -> Iterator[tuple[NDArray[np.uint8], dict[str, bool]]]:
    """Tiles with mirrored borders, and the targets whose presence is known in each."""
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
