"""Errors of the model package.

ModelError
├── ConfigError        a configuration that no model can be built from
├── CheckpointError    weights that do not fit: missing, unexpected or misshapen keys, pickles
├── DatasetError       a benchmark's folder, entry or file that cannot be read
├── InputError         arrays, ids or instructions that the model cannot take
└── TokenizerError     no usable tokenizer beside the weights
"""

from __future__ import annotations


class ModelError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigError(ModelError):
    """A configuration that no model can be built from."""


class CheckpointError(ModelError):
    """Weights that do not match the model, or a file that cannot be read safely."""


class InputError(ModelError):
    """Images, token ids or instructions that the model cannot take."""


class TokenizerError(ModelError):
    """No usable tokenizer beside the weights."""


class DatasetError(ModelError):
    """A data set's folder, entry or file that does not have the expected layout."""
