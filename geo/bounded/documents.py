"""JSON from outside, read in bounded memory; what is bad in one part of a document hides no other part.

Python's reader refuses a whole document for one list that is nested too deeply or one number with too many digits. A
catalog's page or a feed is then lost with all that is good in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from segwatch.geo.errors import TooComplex

#: Each takes some hundred bytes of memory, at most.
MAX_VALUES = 4_000_000
#: What lies deeper is read as null.
MAX_DEPTH = 100
#: Whole numbers with more digits are read as floating-point numbers.
_LONG_NUMBER = re.compile(r"\d{100}")
_MAX_DIGITS = 400
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


def parse_json(document: bytes | str, *, shallow: bool = False) -> Any:
    """A JSON document, also with NaN and Infinity; numbers beyond all bounds are infinite.

    Args:
        document: bytes in UTF-8, 16 or 32, or a text.
        shallow: whether everything that lies deeper than :data:`MAX_DEPTH` is null. Without it that is so only where
            the document could not be read otherwise.

    Raises
    ------
    TooComplex
        It has more than :data:`MAX_VALUES` values.
    ValueError
        It is no JSON.
    """
    text = document if isinstance(document, str) else _decoded(document)
    check_values(text)
    hooks: dict[str, Any] = {"parse_int": _number} if _LONG_NUMBER.search(text) else {}
    if not shallow:
        try:
            return json.loads(text, **hooks)
        except RecursionError:
            pass  # read again without what is too deep
    return json.loads("".join(_without_depths(text)), **hooks)


def check_values(text: str) -> None:
    """Make sure that a document in JSON has not too many values.

    Raises
    ------
    TooComplex
        It has more than :data:`MAX_VALUES`.
    """
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise TooComplex(f"the document has more than {MAX_VALUES} values")


def _decoded(document: bytes) -> str:
    return document.decode(json.detect_encoding(document), "surrogatepass")


def _number(digits: str) -> int | float:
    if len(digits) <= _MAX_DIGITS:
        return int(digits) if len(digits) < _MAX_INT_DIGITS else float(digits)
    return float("-inf" if digits.startswith("-") else "inf")


#: Of a number that any other may be made of without an overflow.
_MAX_INT_DIGITS = 300


def _without_depths(text: str) -> Iterator[str]:
    """The text with null in the place of every list and object that lies too deep."""
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
    # what is left open is no JSON; its reader says so
    yield text[done:] if depth <= MAX_DEPTH else ""
