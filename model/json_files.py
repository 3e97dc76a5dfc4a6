"""Read JSON files of models that come from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segwatch.model.errors import CheckpointError

#: Published configurations have some kilobytes, and indexes of weights some hundred.
_MAX_BYTES = 16 << 20
_MAX_NAME_CHARS = 100


def read_object(file: Path, *, most_bytes: int = _MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    CheckpointError
        The file cannot be read, has more than ``most_bytes``, or holds something else.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise CheckpointError(f"{file}: more than {most_bytes} bytes; take the file of these weights")
        found: Any = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not readable ({error}); take the file of these weights") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file}: no JSON object; take the file of these weights")
    return found


def read_name(config: dict[str, Any], default: str) -> str:
    """Read the name of a model from its configuration; every result will carry it.

    Raises
    ------
    CheckpointError
        The name is no text, or none that can be shown on one line.
    """
    name = config.get("name", default)
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        raise CheckpointError(
            f"the name in config.json is no text of 1 to {_MAX_NAME_CHARS} printable characters; change it"
        )
    return name
