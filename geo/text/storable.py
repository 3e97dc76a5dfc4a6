"""Make text and JSON from outside storable in PostgreSQL. Standard library only."""

from __future__ import annotations

import math
import re
from typing import Any

#: NUL and unpaired surrogates: valid in JSON, refused by PostgreSQL.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def to_storable(value: Any) -> Any:
    """Replace what PostgreSQL cannot store in a JSON value: characters by U+FFFD, NaN and infinity by None.

    Raises
    ------
    RecursionError
        The value is nested deeper than Python's recursion limit.
    """
    if isinstance(value, str):
        return _UNSTORABLE.sub(_REPLACEMENT, value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {to_storable(key): to_storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_storable(item) for item in value]
    return value


def shorten(text: str, max_chars: int) -> str:
    """Truncate a text to ``max_chars`` characters; a truncated one ends with an ellipsis."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"
