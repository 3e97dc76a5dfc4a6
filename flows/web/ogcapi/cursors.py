"""Cursors: the place in a sorted collection after which a page begins.

A cursor holds the values of the sort columns of the last feature, as text. The page after it is found by comparing
with them, so that the database need not read what came before. It also holds the number of all features, which is
counted for the first page only.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from segwatch.geo.text.storable import to_storable

_MAX_TEXT = 8000
_WRONG = "after: take it, with all other parameters, from the link to the next page"


@dataclass(frozen=True, slots=True)
class SortKey:
    """One column that a collection is sorted by."""

    name: str
    descending: bool = False
    nullable: bool = True
    """PostgreSQL sorts null after all values, and before them in descending order."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins."""

    order: tuple[str, ...]
    """Sort columns, those in descending order with a minus sign."""
    values: tuple[str | None, ...]
    """Values of the last feature of the page before."""
    matched: int
    """Number of all features."""

    def write(self) -> str:
        """Write the cursor for a link."""
        plain = json.dumps([list(self.order), list(self.values), self.matched], separators=(",", ":"))
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def read_cursor(given: str) -> Cursor:
    """Read a cursor.

    Raises
    ------
    fastapi.HTTPException
        400 if it was not made by :meth:`Cursor.write`.
    """
    try:
        if len(given) > _MAX_TEXT:
            raise ValueError
        plain = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
        order, values, matched = json.loads(plain)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise HTTPException(400, _WRONG) from None
    texts = isinstance(order, list) and all(isinstance(one, str) for one in order)
    known = isinstance(values, list) and all(
        one is None or (isinstance(one, str) and to_storable(one) == one) for one in values
    )
    counted = isinstance(matched, int) and not isinstance(matched, bool) and matched >= 0
    if not (texts and known and counted) or len(order) != len(values):
        raise HTTPException(400, _WRONG)
    return Cursor(tuple(order), tuple(values), matched)


def describe_order(keys: Sequence[SortKey]) -> tuple[str, ...]:
    """Describe sort columns as in :attr:`Cursor.order`."""
    return tuple(f"-{one.name}" if one.descending else one.name for one in keys)


def make_condition(keys: Sequence[SortKey], cursor: Cursor) -> dict[str, Any]:
    """Make the CQL2 condition for the features that come after a cursor.

    Raises
    ------
    fastapi.HTTPException
        400 if the cursor is of another order.
    """
    if describe_order(keys) != cursor.order:
        raise HTTPException(400, _WRONG)
    alternatives: list[dict[str, Any]] = []
    same: list[dict[str, Any]] = []
    for key, value in zip(keys, cursor.values, strict=True):
        later = _come_later(key, value)
        if later is not None:
            alternatives.append(_join("and", [*same, later]))
        same.append(_is_null(key) if value is None else _compare("=", key, value))
    if not alternatives:
        raise HTTPException(400, _WRONG)
    found = _join("or", alternatives)
    first, value = keys[0], cursor.values[0]
    if len(keys) == 1 or value is None or first.nullable:
        return found
    # an index serves this part, which the alternatives imply
    return _join("and", [_compare("<=" if first.descending else ">=", first, value), found])


def _come_later(key: SortKey, value: str | None) -> dict[str, Any] | None:
    """Condition of values that come after one; None if none do."""
    if value is None:
        return {"op": "not", "args": [_is_null(key)]} if key.descending else None
    if key.descending:
        return _compare("<", key, value)
    later = _compare(">", key, value)
    return _join("or", [later, _is_null(key)]) if key.nullable else later


def _compare(operator: str, key: SortKey, value: str) -> dict[str, Any]:
    return {"op": operator, "args": [{"property": key.name}, value]}


def _is_null(key: SortKey) -> dict[str, Any]:
    return {"op": "isNull", "args": [{"property": key.name}]}


def _join(operator: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return parts[0] if len(parts) == 1 else {"op": operator, "args": parts}
