"""Filters in CQL2, from anyone: only the standard's operators over a collection's own columns become SQL.

The cql2 library writes whatever function or column a filter names into SQL, its parser's time doubles with each open
bracket, and deep nesting ends the process. So size comes first, and what is checked is what becomes SQL.
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
#: accenti and a_overlaps are missing: cql2 writes a function and an operator for them that PostgreSQL has not.
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
_LONGEST_TEXT = 2000
_DEEPEST = 10


def parse(given: str, columns: Collection[str], *, arithmetic: bool = True) -> cql2.Expr:
    """A filter in CQL2 text or JSON as an expression that may become SQL; 400 where it may not.

    ``arithmetic``: whether it may compute, for those who may see all rows that it could fail on.
    """
    try:
        if given.lstrip().startswith("{"):
            read = cql2.parse_json(given)  # which bounds nesting itself
        else:
            _bound(given)
            read = cql2.parse_text(given)
        tree: object = read.to_json()
        if not isinstance(tree, dict):  # a lone string would be read as a text once more
            raise _refused("it is no condition")
        # geometries get their reference system on the way through JSON only
        expression = cql2.Expr(_spelled_out(tree))
        tree = expression.to_json()
    except HTTPException:
        raise
    except Exception as error:  # whatever the library raises: its own kinds and plain Exception
        raise _refused("it is no CQL2") from error
    for name, value in _named(tree):
        if name == "op" and not arithmetic and str(value).lower() in _ARITHMETIC:
            raise _refused(f"{value} is not allowed to readers of some watches only; compare with a number")
        if name == "op" and str(value).lower() not in _OPERATORS:
            raise _refused(f"{value} is not allowed; {_ALLOWED}")
        if name == "property" and value not in columns:
            raise _refused(f"there is no property {value}; there are {', '.join(sorted(columns))}")
    return expression


def any_of(operand: object, values: list[Any]) -> dict[str, Any]:
    """The operand is one of the values, as comparisons of it with each.

    cql2 writes a list as an array of texts, which PostgreSQL compares with nothing but texts; a text by itself takes
    the type of what it is compared with.
    """
    each = [{"op": "=", "args": [operand, one]} for one in values]
    return each[0] if len(each) == 1 else {"op": "or", "args": each}


def _spelled_out(tree: Any) -> Any:
    """With ``in`` as :func:`any_of` has it."""
    if isinstance(tree, list):
        return [_spelled_out(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    node = {name: _spelled_out(value) for name, value in tree.items()}
    operands = node.get("args")
    if str(node.get("op")).lower() == "in" and isinstance(operands, list) and len(operands) == 2:
        operand, values = operands
        if isinstance(values, list) and values:
            return any_of(operand, values)
    return node


def _bound(text: str) -> None:
    if len(text) > _LONGEST_TEXT:
        raise _refused(f"as text it may have {_LONGEST_TEXT} characters; send a longer one as CQL2 JSON")
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth > _DEEPEST:
            raise _refused(f"as text it may have {_DEEPEST} brackets within each other")


def _named(tree: object) -> Iterator[tuple[str, object]]:
    """Every operator and property, at any depth."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield from ((name, node[name]) for name in ("op", "property") if name in node)
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _refused(why: str) -> HTTPException:
    return HTTPException(400, f"filter: {why}")
