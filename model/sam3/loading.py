"""Load the weights and the tokenizer of SAM 3 from a folder; what does not fit is refused before torch allocates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.sam3.configuration_sam3 import Sam3Config

from segwatch.model import checkpoint, folder_check
from segwatch.model.errors import CheckpointError, TokenizerError
from segwatch.model.sam3.box_encoder import Sam3
from segwatch.model.transformers_output import silence_transformers

_DETECTOR, _TRACKER = "detector_model.", ("tracker_model.", "tracker_neck.")
#: What transformers calls differently from release to release, and maps when it loads.
_RENAMED = ("text_encoder.text_model.", "text_encoder.")
#: Endings of trained values; files may hold tables beside them that the model computes anew.
_TRAINED = (".weight", ".bias")
_ADVICE = "download facebook/sam3 again, with its config.json"


def load_weights(folder: Path, dtype: torch.dtype) -> Sam3:
    """Load the model strictly, in the layout of the image model or of the video model that the hub has.

    Nothing in the files is executed.

    Raises
    ------
    CheckpointError
        The folder has no weights of SAM 3, or they are cut, beyond all bounds, or do not fit its configuration.
    """
    check_weights(folder)
    with silence_transformers():
        try:
            loaded: Any = Sam3.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, use_safetensors=True, local_files_only=True
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder}: no weights of SAM 3 can be loaded: {error}") from error
    model: Sam3 = loaded[0]
    if missing := sorted(loaded[1]["missing_keys"]):
        raise CheckpointError(
            f"{folder}: {missing[0]} and {len(missing) - 1} more weights cannot be loaded by this version of "
            "transformers; install the version in constraints.txt"
        )
    return model


def check_weights(folder: Path) -> None:
    """Check that :func:`load_weights` could load a folder, without reading its weights.

    Raises
    ------
    CheckpointError
        The folder has no weights of SAM 3, or they are cut, beyond all bounds, or do not fit its configuration.
    """
    check_kind(folder)
    with silence_transformers():
        try:
            config = Sam3Config.from_pretrained(folder, local_files_only=True)
            with torch.device("meta"):
                empty = Sam3(config)
        except (
            OSError,
            ValueError,
            RuntimeError,
            KeyError,
            TypeError,
            AttributeError,
            ArithmeticError,
        ) as error:
            raise CheckpointError(
                f"{folder}: no SAM 3 can have the dimensions of its config.json: {error}"
            ) from error
        _check_shapes(folder, empty)


def load_tokenizer(folder: Path, words: int) -> PreTrainedTokenizerBase:
    """Load the tokenizer; ``words`` is the size of the model's vocabulary.

    Raises
    ------
    TokenizerError
        There is no usable tokenizer.
    """
    try:
        with silence_transformers():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise TokenizerError(f"{folder}: no usable tokenizer beside the weights: {error}") from error
    # without its files, transformers makes one that knows no word
    if not words / 2 < len(tokenizer) <= words:
        raise TokenizerError(
            f"{folder}: no usable tokenizer beside the weights: it has {len(tokenizer)} tokens, the model {words}; "
            "put tokenizer.json of facebook/sam3 there"
        )
    return tokenizer


def check_kind(folder: Path) -> None:
    """Check that the configuration is one of SAM 3, and its numbers within bounds.

    Raises
    ------
    CheckpointError
        It is not.
    """
    file = folder / folder_check.CONFIG_FILE
    kind = folder_check.read_config(file).get("model_type")
    if kind not in folder_check.SAM3_TYPES:
        raise CheckpointError(
            f"{file}: model_type is {kind!r}, not 'sam3'; give the folder of facebook/sam3, or leave SEGWATCH_MODEL "
            "out for weights of SegEarth-R2"
        )


def _check_shapes(folder: Path, model: Sam3) -> None:
    """Compare names and shapes in the folder's files with those of a model on the "meta" device."""
    wanted = {_rename(name): tuple(value.shape) for name, value in model.state_dict().items()}
    found = {
        key: shape
        for name, shape in checkpoint.read_shapes(checkpoint.list_weight_files(folder)).items()
        if not name.startswith(_TRACKER)
        and ((key := _rename(name.removeprefix(_DETECTOR))) in wanted or key.endswith(_TRAINED))
    }
    checkpoint.compare_shapes(wanted, found, where=str(folder), advice=_ADVICE)


def _rename(name: str) -> str:
    return name.replace(*_RENAMED)
