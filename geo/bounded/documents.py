"""Parse untrusted JSON in bounded memory; one bad value does not make the whole document unreadable.

Python's parser refuses a document for one list that is nested too deeply or one number with too many digits, and a
whole page of a catalog or feed would be lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from segwatch.geo.errors import TooComplex

#: Each takes at most some hundred bytes of memory.
MAX_VALUES = 4_000_000
#: Deeper values are read as null.
MAX_DEPTH = 100
#: Triggers the parsing of long integers as floating-point numbers.
_LONG_NUMBER = re.compile(r"\d{100}")
_MAX_DIGITS = 400
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


def parse_json(document: bytes | str, *, shallow: bool = False) -> Any:
    """Parse JSON, NaN and Infinity included; huge integers become floats, if need be infinite.

    Parameters
    ----------
    document
        Bytes in UTF-8, UTF-16 or UTF-32, or a string.
    shallow
        Whether to replace values deeper than :data:`MAX_DEPTH` by null. Otherwise that is done only if the document
        cannot be parsed without it.

    Raises
    ------
    TooComplex
        The document has more than :data:`MAX_VALUES` values.
    ValueError
        The document is not JSON.
    """
    text = document if isinstance(document, str) else _decode(document)
    check_values(text)
    hooks: dict[str, Any] = {"parse_int": _parse_integer} if _LONG_NUMBER.search(text) else {}
    if not shallow:
        try:
            return json.loads(text, **hooks)
        except RecursionError:
            pass  # parse again without deep values
    return json.loads("".join(_cut_depths(text)), **hooks)


def check_values(text: str) -> None:
    """Raise TooComplex if a JSON document has more than :data:`MAX_VALUES` values."""
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise TooComplex(f"the document has more than {MAX_VALUES} values")


def _decode(document: bytes) -> str:
    return document.decode(json.detect_encoding(document), "surrogatepass")


def _parse_integer(digits: str) -> int | float:
    if len(digits) <= _MAX_DIGITS:
        return int(digits) if len(digits) < _MAX_INT_DIGITS else float(digits)
    return float("-inf" if digits.startswith("-") else "inf")


#: Integers with fewer digits stay exact; larger ones may overflow a float.
_MAX_INT_DIGITS = 300


def _cut_depths(text: str) -> Iterator[str]:
    """Yield the text with null in place of lists and objects that are nested too deeply."""
    depth, done = 0, 0
    for match in _STRING_OR_BRACKET.finditer(text):
        kind = match[0]
        if kind in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                yield text[done : match.start()]
        elif kind in "]}":
            if depth == MAX_DEPTH + 1:
                yield "null"
                done = match.end()
            depth -= 1
    # the parser reports brackets that are left open
    yield text[done:] if depth <= MAX_DEPTH else ""
