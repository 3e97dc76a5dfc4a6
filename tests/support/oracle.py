"""The reference's numerical record, with its weights drawn again from their seed.

The weights are 19 MB of random numbers, so the tests carry what made them instead: ``weights.json`` has the seed and,
in the order in which they were drawn, each tensor's name, shape, scale and offset; ``set_weights.safetensors`` has
the few that were set by hand. Run as a module, it writes the record for ``segwatch model parity``::

    python -m tests.support.oracle FOLDER
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.paths import DATA

FOLDER = DATA / "oracle"
_SEG_ROW = "weights.lm_head.weight[50295]"


def write_record(folder: Path) -> None:
    """Write ``config.json``, ``stages.safetensors`` and ``weights.safetensors`` into a folder that exists."""
    for name in ("config.json", "stages.safetensors"):
        shutil.copy(FOLDER / name, folder / name)
    save_file(_weights(), folder / "weights.safetensors")


def _weights() -> dict[str, Tensor]:
    recipe = json.loads((FOLDER / "weights.json").read_text(encoding="utf-8"))
    generator = torch.Generator().manual_seed(recipe["seed"])
    weights = {}
    for name, shape, scale, offset in recipe["drawn"]:
        weights[f"weights.{name}"] = offset + scale * torch.randn(shape, generator=generator)
    placed = load_file(FOLDER / "set_weights.safetensors")
    weights["weights.lm_head.weight"][50295] = placed.pop(_SEG_ROW)
    weights.update(placed)
    squares = sum(float(tensor.double().square().sum()) for tensor in weights.values())
    if not math.isclose(squares, recipe["sum_of_squares"], rel_tol=1e-9):
        raise RuntimeError(
            "this version of torch draws other random numbers; store the record's weights whole"
        )
    return weights


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    write_record(Path(sys.argv[1]))
