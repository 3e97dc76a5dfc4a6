"""The reference's numerical record, with its weights drawn again from their seed.

The weights and the input pictures are 24 MB of random numbers, so the tests carry what made them instead:
``weights.json`` has the seed and, in the order in which they were drawn, each tensor's name, shape, scale and offset,
and how many numbers were drawn for something else before the pictures; ``set_weights.safetensors`` has the few weights
that were set by hand. Run as a module, it writes the record for ``segwatch model parity``::

    python -m tests.support.oracle FOLDER
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.paths import DATA

FOLDER = DATA / "oracle"
_SEG_ROW = "weights.lm_head.weight[50295]"


def write_record(folder: Path) -> None:
    """Write ``config.json``, ``stages.safetensors`` and ``weights.safetensors`` into a folder that exists."""
    recipe = json.loads((FOLDER / "weights.json").read_text(encoding="utf-8"))
    generator = torch.Generator().manual_seed(recipe["seed"])
    shutil.copy(FOLDER / "config.json", folder / "config.json")
    save_file(_draw_weights(recipe, generator), folder / "weights.safetensors")
    stages = load_file(FOLDER / "stages.safetensors") | _draw_pictures(recipe["pictures"], generator)
    save_file(stages, folder / "stages.safetensors")


def _draw_weights(recipe: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
    weights = {}
    for name, shape, scale, offset in recipe["drawn"]:
        weights[f"weights.{name}"] = offset + scale * torch.randn(shape, generator=generator)
    placed = load_file(FOLDER / "set_weights.safetensors")
    weights["weights.lm_head.weight"][50295] = placed.pop(_SEG_ROW)
    weights.update(placed)
    return _check(weights, recipe["sum_of_squares"])


def _draw_pictures(recipe: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
    torch.rand(recipe["skipped"], generator=generator)
    pictures = {name: torch.randn(shape, generator=generator) for name, shape in recipe["drawn"]}
    return _check(pictures, recipe["sum_of_squares"])


def _check(drawn: dict[str, Tensor], sum_of_squares: float) -> dict[str, Tensor]:
    squares = sum(float(tensor.double().square().sum()) for tensor in drawn.values())
    if not math.isclose(squares, sum_of_squares, rel_tol=1e-9):
        raise RuntimeError(
            "this version of torch draws other random numbers; store the record's tensors whole"
        )
    return drawn


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    write_record(Path(sys.argv[1]))
