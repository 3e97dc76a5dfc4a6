"""CQL2 filters from untrusted clients: only standard operators on a collection's own columns become SQL.

The cql2 library writes any function or column that a filter names into SQL; its parser takes twice as long with each
open bracket, and deep nesting crashes the process. So the size is checked before parsing, and the checked tree is the
one that becomes SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import cql2
from fastapi import HTTPException

_LOGIC = ("and", "or", "not")
_COMPARISONS = ("=", "<>", "<", "<=", ">", ">=", "like", "between", "in", "isnull", "casei")
_ARITHMETIC = ("+", "-", "*", "/", "%", "^", "div")
_SPACE = ("intersects", "contains", "within", "disjoint", "equals", "touches", "crosses", "overlaps")
_TIME = (
    "after", "before", "contains", "disjoint", "during", "equals", "finishedby", "finishes", "intersects", "meets",
    "metby", "overlappedby", "overlaps", "startedby", "starts",
)  # fmt: skip
#: Without accenti and a_overlaps, for which cql2 writes a function and an operator that PostgreSQL does not have.
_OPERATORS = frozenset(
    (
        *_LOGIC,
        *_COMPARISONS,
        *_ARITHMETIC,
        *(f"s_{one}" for one in _SPACE),
        *(f"t_{one}" for one in _TIME),
        *("a_contains", "a_containedby", "a_equals"),
    )
)
_ALLOWED = (
    "allowed are and, or, not, comparisons, LIKE, BETWEEN, IN, IS NULL, CASEI, arithmetic, and CQL2's S_, T_ and A_ "
    "operators but for A_OVERLAPS"
)
_MAX_TEXT = 2000
_MAX_DEPTH = 10


def parse(given: str, columns: Collection[str], *, arithmetic: bool = True) -> cql2.Expr:
    """Parse a filter in CQL2 text or JSON into an expression that may become SQL.

    Parameters
    ----------
    columns
        Names that the filter may use.
    arithmetic
        Whether arithmetic is allowed. Its errors depend on values, so only readers who may see all rows may use it.

    Raises
    ------
    fastapi.HTTPException
        400 if the filter is invalid or not allowed.
    """
    try:
        if given.lstrip().startswith("{"):
            read = cql2.parse_json(given)  # limits nesting itself
        else:
            _check_size(given)
            read = cql2.parse_text(given)
        tree: object = read.to_json()
        if not isinstance(tree, dict):  # cql2.Expr would parse a lone string as CQL2 text again
            raise _make_error("it is not a condition")
        # only the way through JSON gives geometries their reference system
        expression = cql2.Expr(_replace_in(tree))
        tree = expression.to_json()
    except HTTPException:
        raise
    except Exception as error:  # the library raises plain Exception, too
        raise _make_error("it is not valid CQL2") from error
    for name, value in _iterate_names(tree):
        if name == "op" and not arithmetic and str(value).lower() in _ARITHMETIC:
            raise _make_error(
                f"{value} is not allowed for readers of only some watches; compare with a number instead"
            )
        if name == "op" and str(value).lower() not in _OPERATORS:
            raise _make_error(f"{value} is not allowed; {_ALLOWED}")
        if name == "property" and value not in columns:
            raise _make_error(f"unknown property {value}; the properties are {', '.join(sorted(columns))}")
    return expression


def make_any_of(operand: object, values: list[Any]) -> dict[str, Any]:
    """Make the condition that an operand equals one of the values, as a comparison with each.

    cql2 writes a list as an array of texts, which PostgreSQL compares only with texts, whereas a single literal takes
    the type of the column.
    """
    each = [{"op": "=", "args": [operand, one]} for one in values]
    return each[0] if len(each) == 1 else {"op": "or", "args": each}


def _replace_in(tree: Any) -> Any:
    """Replace every ``in`` as :func:`make_any_of` writes it."""
    if isinstance(tree, list):
        return [_replace_in(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    node = {name: _replace_in(value) for name, value in tree.items()}
    operands = node.get("args")
    if str(node.get("op")).lower() == "in" and isinstance(operands, list) and len(operands) == 2:
        operand, values = operands
        if isinstance(values, list) and values:
            return make_any_of(operand, values)
    return node


def _check_size(text: str) -> None:
    if len(text) > _MAX_TEXT:
        raise _make_error(f"text is limited to {_MAX_TEXT} characters; send a longer filter as CQL2 JSON")
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth > _MAX_DEPTH:
            raise _make_error(f"text is limited to {_MAX_DEPTH} nested brackets")


def _iterate_names(tree: object) -> Iterator[tuple[str, object]]:
    """Iterate over every operator and property, at any depth."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield from ((name, node[name]) for name in ("op", "property") if name in node)
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _make_error(why: str) -> HTTPException:
    return HTTPException(400, f"filter: {why}")
