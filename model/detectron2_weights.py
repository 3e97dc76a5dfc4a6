"""Read a pickle that holds nothing but NumPy arrays, without running what else a pickle could contain.

Detectron2 publishes weights in this form. A pickle names the functions that rebuild its objects; here only the four
that rebuild arrays exist, every other name is refused before anything is called.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwatch.model.errors import CheckpointError

#: Larger files are refused: Mask2Former's largest published weights have 0.9 GB.
MAX_BYTES = 4 * 1024**3


def _rebuild_bytes(text: str, encoding: str) -> bytes:
    """Python 2's way to write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


_multiarray: Any = import_module("numpy._core.multiarray")
_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _rebuild_bytes,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Resolve one of the allowed names.

        Raises
        ------
        pickle.UnpicklingError
            For every other name.
        """
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_arrays(file: Path) -> dict[str, NDArray[np.generic]]:
    """Arrays by name of a detectron2 weight file; those under its ``model`` entry where it has one.

    Raises
    ------
    CheckpointError
        The file is missing, too large, cut off, or holds anything else than numeric arrays.
    """
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(
                f"{file}: {size / 1024**3:.1f} GiB; at most {MAX_BYTES // 1024**3} are read"
            )
        with file.open("rb") as stream:
            found = _ArraysOnly(stream, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: holds more than arrays ({error}), and reading that would run code; it was not read"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from error
    except Exception as error:  # a damaged pickle ends in any error that rebuilding an array can raise
        raise CheckpointError(f"{file}: not a readable pickle ({error}); download it again") from error
    return _numeric(file, found)


def _numeric(file: Path, found: object) -> dict[str, NDArray[np.generic]]:
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        found = found["model"]
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{file}: not a mapping of names to arrays")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise CheckpointError(f"{file}: {name!r} is not a numeric array")
    return dict(found)
