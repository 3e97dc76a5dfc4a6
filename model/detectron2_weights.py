"""Read Detectron2 weight files: pickles of NumPy arrays, without executing any other code a pickle could contain.

A pickle names the functions that rebuild its objects. Here only the few that rebuild arrays are known; every other name
is refused before anything is called.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwatch.model.errors import CheckpointError

#: Larger files are refused; Mask2Former's largest published weights take 0.9 GB.
MAX_BYTES = 4 * 1024**3


class _ForbiddenError(pickle.UnpicklingError):
    """A pickle asks for something that arrays do not need."""


def _rebuild_bytes(text: str, encoding: str) -> bytes:
    """Rebuild bytes as Python 2 pickled them."""
    if encoding != "latin1":
        raise _ForbiddenError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


_multiarray: Any = import_module("numpy._core.multiarray")


def _rebuild_array(kind: object, shape: object, code: object) -> NDArray[np.generic]:
    """Rebuild an empty array, which its state fills later, as every pickled array begins."""
    if kind is not _ArrayType or shape != (0,) or code not in (b"b", "b"):
        raise _ForbiddenError(f"an array that begins as {kind!r:.40}, {shape!r:.40}")
    empty: NDArray[np.generic] = _multiarray._reconstruct(np.ndarray, (0,), b"b")
    return empty


def _rebuild_dtype(code: object, *rest: object) -> np.dtype[Any]:
    """Rebuild a numeric dtype; one of objects or fields could hold anything."""
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[fiub][1248]", code):
        raise _ForbiddenError(f"an array of {code!r:.40}")
    return np.dtype(code)


class _ArrayType:
    """Stands for the class of arrays, so that a pickle cannot call it with a size of its own."""


_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _rebuild_array,
    ("numpy._core.multiarray", "_reconstruct"): _rebuild_array,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _rebuild_dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _rebuild_bytes,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Resolve one of the allowed names.

        Raises
        ------
        pickle.UnpicklingError
            The name is any other.
        """
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _ForbiddenError(f"it asks for {module}.{name}") from None


def read_arrays(file: Path) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of a Detectron2 weight file by name, those of its ``model`` entry if it has one.

    Raises
    ------
    CheckpointError
        The file is missing, too large, truncated, or contains anything but numeric arrays.
    """
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(
                f"{file}: {size / 1024**3:.1f} GiB; at most {MAX_BYTES // 1024**3} are read"
            )
        with file.open("rb") as stream:
            found = _ArraysOnly(stream, encoding="latin1").load()
    except _ForbiddenError as error:
        raise CheckpointError(
            f"{file}: holds more than arrays ({error}), and reading that would run code; it was not read"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from error
    except Exception as error:  # a damaged pickle can raise any error of rebuilding an array
        raise CheckpointError(f"{file}: not a readable pickle ({error}); download it again") from error
    return _check_numeric(file, found)


def _check_numeric(file: Path, found: object) -> dict[str, NDArray[np.generic]]:
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        found = found["model"]
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{file}: not a mapping of names to arrays")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise CheckpointError(f"{file}: {name!r} is not a numeric array")
    return dict(found)
