"""What comes from outside, in a form that a database of Unicode text and JSON takes. Standard library only."""

from __future__ import annotations

import math
import re
from typing import Any

#: NUL and halves of surrogate pairs: JSON can write them, PostgreSQL stores neither.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def storable(value: Any) -> Any:
    """The same JSON value with U+FFFD for characters that cannot be stored, and None for numbers that are none.

    Raises
    ------
    RecursionError
        It is nested deeper than anything that is meant.
    """
    if isinstance(value, str):
        return _UNSTORABLE.sub(_REPLACEMENT, value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable(key): storable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [storable(one) for one in value]
    return value


def shortened(text: str, most: int) -> str:
    """At most so many characters, the last of a longer one being an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"
