"""Hypothesis strategies for items by the STAC JSON schemas, and for malformed ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

_Schema = Mapping[str, Any]
_MOST_OPTIONAL = 3
_FOLDERS = ("geojson", "stac-spec/v1.1.0")

numbers = st.integers(-(10**12), 10**12) | st.floats(allow_nan=True, allow_infinity=True)
texts = st.text(max_size=20) | st.sampled_from(
    [
        "", "2024-05-01T10:00:00Z", "2024-13-45T99:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
        "file:///etc/passwd", "/vsicurl/http://169.254.169.254/", "http://user:secret@data.example.org/a.tif",
        "https://data.example.org/a.tif", "//data.example.org/a.tif", "../../a.tif", "http://[::1", "\x00",
        "a\x00b", "<script>", "Polygon", "GeometryCollection", "x" * 5000,
    ]
)  # fmt: skip
junk = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""Values of any shape."""


def items() -> SearchStrategy[dict[str, Any]]:
    """Items that follow the schema, except its rules about other extensions."""
    return _following({"$ref": "item.json"}, "item.json")


@st.composite
def damaged(draw: DrawFn, document: Any, *, most: int = 3) -> Any:
    """A document with some parts removed or replaced by any value."""
    for place in draw(st.lists(st.sampled_from(places(document)), min_size=1, max_size=most)):
        target = document
        # an earlier replacement may have removed this place
        with suppress(KeyError, IndexError, TypeError):
            for key in place[:-1]:
                target = target[key]
            if draw(st.booleans()):
                target[place[-1]] = draw(junk)
            else:
                del target[place[-1]]
    return document


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths (keys) of all parts of a document except itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, one in inner for place in ((*at, key), *places(one, (*at, key)))]
    return found[:400] or [("id",)]


@cache
def _file(name: str) -> Any:
    root = resources.files("pystac.validation.jsonschemas")
    found = next(root / folder / name for folder in _FOLDERS if (root / folder / name).is_file())
    return json.loads(found.read_text(encoding="utf-8"))


def _following(schema: Any, file: str) -> SearchStrategy[Any]:
    if not isinstance(schema, Mapping):
        return junk
    if "$ref" in schema:
        return _referred(str(schema["$ref"]), file)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    parts = [_following(part, file) for part in schema.get("allOf", ()) if "if" not in part]
    for choice in ("oneOf", "anyOf"):
        branches = [part for part in schema.get(choice, ()) if "not" not in part]
        if branches:
            parts.append(st.one_of([_following(part, file) for part in branches]))
    if "type" in schema or "properties" in schema or not parts:
        parts.append(_typed(schema, file))
    return parts[0] if len(parts) == 1 else st.tuples(*parts).map(_together)


def _referred(reference: str, file: str) -> SearchStrategy[Any]:
    name, _, inner = reference.partition("#")
    name = name.rpartition("/")[2] or file
    schema = _file(name)
    for key in filter(None, inner.split("/")):
        schema = schema[key]
    return st.deferred(lambda: _following(schema, name))


def _together(parts: tuple[Any, ...]) -> Any:
    """Merge objects of ``allOf``; otherwise take the last."""
    if not all(isinstance(part, dict) for part in parts):
        return parts[-1]
    return {key: value for part in parts for key, value in part.items()}


def _typed(schema: _Schema, file: str) -> SearchStrategy[Any]:
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        return st.one_of([_typed({**schema, "type": one}, file) for one in kind])
    if kind == "object":
        return _object(schema, file)
    if kind == "array":
        inner = _following(schema.get("items"), file)
        least = int(schema.get("minItems", 0))
        return st.lists(inner, min_size=least, max_size=max(least, int(schema.get("maxItems", least + 2))))
    if kind == "string":
        return _text(schema)
    if kind in {"number", "integer"}:
        low, high = schema.get("minimum", -200), schema.get("maximum", 200)
        return st.integers(int(low), int(high)) if kind == "integer" else st.floats(float(low), float(high))
    return {"boolean": st.booleans(), "null": st.none()}.get(str(kind), junk)


def _object(schema: _Schema, file: str) -> SearchStrategy[dict[str, Any]]:
    said = {name: _following(part, file) for name, part in schema.get("properties", {}).items()}
    required = {name: said.get(name, junk) for name in schema.get("required", ())}
    optional = {name: part for name, part in said.items() if name not in required}
    fixed = _drawn(required, optional)
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping):
        others = st.dictionaries(
            st.sampled_from(["visual", "red", "more"]), _following(more, file), max_size=2
        )
        return st.tuples(others, fixed).map(_together)
    return fixed


@st.composite
def _drawn(
    draw: DrawFn, required: dict[str, SearchStrategy[Any]], optional: dict[str, SearchStrategy[Any]]
) -> dict[str, Any]:
    """An object with its required properties and some optional ones."""
    names = list(required)
    if optional:
        some = st.lists(st.sampled_from(sorted(optional)), max_size=_MOST_OPTIONAL, unique=True)
        names += draw(some)
    return {name: draw((required | optional)[name]) for name in names}


def _text(schema: _Schema) -> SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    if "pattern" in schema:
        return st.from_regex(str(schema["pattern"]), fullmatch=False)
    return st.text(min_size=int(schema.get("minLength", 0)), max_size=20)
