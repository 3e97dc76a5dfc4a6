"""Hypothesis strategies for damaged documents: bytes, texts and JSON, made from valid ones by a few small edits.

Edits are drawn, not the documents: a document of 40 kB costs no more draws than one of 40 bytes, and Hypothesis still
finds the fewest edits that matter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.support.hostile_shapes import as_geojson, knot

_MOST_EDITS = 5
#: Parts of documents with as many values are not repeated, as several edits would multiply them.
_MANY_VALUES = 5000
_PLACES = st.integers(0, 2**20)
#: JSON that the standard library does not write, by the text that stands for it.
_RAW = {
    "@huge@": "1" + "0" * 400,
    "@long@": "9" * 5000,
    "@infinite@": "1e999",
    "@nan@": "NaN",
    "@minus@": "-Infinity",
    "@deep@": "[" * 150 + "]" * 150,
    "@deeper@": "[" * 20_000 + "]" * 20_000,
    "@deepest@": '{"a":' * 20_000 + "1" + "}" * 20_000,
}
_POLE = [[-180, 80], [-90, 80], [0, 80], [90, 80], [180, 80], [180, 90], [-180, 90], [-180, 80]]
_ROUND = [[15 + math.cos(one / 800), 46 + math.sin(one / 800)] for one in range(5026)]
#: Values that break careless readers, wherever they stand in a document.
TEXTS = (
    "", " ", "\0", "a\0b", "\ud800", "\u202eevil", "\x1b[31m", "x" * 10_000, "é" * 300, "../../etc/passwd",
    "file:///etc/passwd", "/vsicurl/http://169.254.169.254/", "http://169.254.169.254/latest/meta-data/",
    "http://[::1", "//host/a", "https://user:secret@example.org/a.tif", "http://example.org:99999/",
    "local:a/b?version=1", "javascript:alert(1)",
    "<script>alert(1)</script>", "=cmd()", "'; DROP TABLE x; --", "%00", "%ff%fe", "${HOME}",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-02-30T00:00:00Z", "2024-05-01", "1e999", "nan",
    "-inf", "NaN,NaN,NaN,NaN", "0x10", "１２", "²", "Infinity",
)  # fmt: skip
NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63) - 1, 2**64, 1e308, -1e308, 5e-324, 0.1, 181, -181, 91, 1e6)
_MADE: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], [None], {"": None}, [0] * 2000, {"type": "Feature"}, *TEXTS, *NUMBERS, *_RAW,
    as_geojson(knot(41)), as_geojson(knot(401)),
    {"type": "Polygon", "coordinates": [_POLE]},
    {"type": "Polygon", "coordinates": [_ROUND]},
    {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]},
    {"type": "Polygon", "coordinates": [[[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]]},
    {"type": "Polygon", "coordinates": [[[0, 0], [0, 0], [0, 0], [0, 0]]]},
    {"type": "Point", "coordinates": ["@nan@", "@infinite@"]},
    {"type": "Point", "coordinates": [0]},
    {"type": "MultiPolygon", "coordinates": []},
    {"type": "GeometryCollection", "geometries": [{"type": "GeometryCollection", "geometries": []}]},
    {"type": "Circle", "coordinates": [1, 2]},
)  # fmt: skip
_VALUES = tuple(json.dumps(one) for one in _MADE)
_WORDS = tuple(one.encode("utf-8", "surrogatepass") for one in TEXTS)
_BYTES = (
    *_WORDS,
    *(one.encode() for one in _RAW.values()),
    b"\xff" * 4,
    b"\0" * 8,
    b"\x7f\xff\xff\xff",
    b"\x80",
    b"\r\n",
)

_T = TypeVar("_T")
_Edit = tuple[str, int, int, bytes]


def _choose(values: Sequence[_T]) -> SearchStrategy[_T]:
    """Choose one of some values; Hypothesis writes out those of ``sampled_from``, which takes long for long ones."""
    return st.integers(0, len(values) - 1).map(lambda number: values[number])


_EDITS: SearchStrategy[list[_Edit]] = st.lists(
    st.tuples(
        st.sampled_from(("overwrite", "insert", "delete", "repeat", "cut")),
        _PLACES,
        st.integers(1, 64),
        _choose(_BYTES) | st.binary(min_size=1, max_size=8),
    ),
    max_size=_MOST_EDITS,
)


def damage_bytes(valid: Sequence[bytes]) -> SearchStrategy[bytes]:
    """Damage one of some valid documents."""
    return st.builds(_edit, _choose(valid), _EDITS) | st.binary(max_size=40)


def damage_texts(valid: Sequence[str]) -> SearchStrategy[str]:
    """Damage one of some valid texts; parts that are no UTF-8 any more become surrogates."""
    whole = _choose([one.encode() for one in valid])
    made = st.builds(_edit, whole, _EDITS).map(lambda one: one.decode("utf-8", "surrogateescape"))
    return made | st.text(max_size=30) | _choose(TEXTS)


def _edit(document: bytes, edits: Sequence[_Edit]) -> bytes:
    made = document
    for kind, place, count, put in edits:
        at = place % (len(made) + 1)
        match kind:
            case "overwrite":
                made = made[:at] + put + made[at + len(put) :]
            case "insert":
                made = made[:at] + put + made[at:]
            case "delete":
                made = made[:at] + made[at + count :]
            case "repeat":
                made = made[:at] + made[at : at + count] * count + made[at + count :]
            case _:
                made = made[:at]
    return made


def damage_json(valid: Sequence[Any]) -> SearchStrategy[bytes]:
    """Damage the values of one of some JSON documents, and sometimes its bytes."""
    edits = st.lists(
        st.tuples(
            st.sampled_from(("replace", "replace", "delete", "repeat", "copy", "rename")),
            _PLACES,
            _PLACES,
            _choose(_VALUES),
        ),
        min_size=1,
        max_size=_MOST_EDITS,
    )
    whole = _choose([json.dumps(one) for one in valid])
    by_value = st.builds(_damage, whole, edits)
    return by_value | by_value | damage_bytes([json.dumps(one).encode() for one in valid])


def _damage(document: str, edits: Sequence[tuple[str, int, int, str]]) -> bytes:
    root = [json.loads(document)]
    for kind, place, other, put in edits:
        slots = _list_slots(root)
        value = json.loads(put)
        holder, key = slots[place % len(slots)]
        match kind:
            case "delete":
                del holder[key]
            case "repeat" if isinstance(holder, list) and len(slots) < _MANY_VALUES:
                holder.extend([holder[key]] * (other % 20))
            case "copy":
                there, at = slots[other % len(slots)]
                holder[key] = json.loads(json.dumps(there[at]))
            case "rename" if isinstance(holder, dict):
                holder[str(value)[:500]] = holder.pop(key)
            case _:
                holder[key] = value
        if not root:
            root.append(None)
    return write_json(root[0])


def _list_slots(node: Any) -> list[tuple[Any, Any]]:
    """List every place of a document as its container and key."""
    found: list[tuple[Any, Any]] = []
    waiting = [node]
    while waiting:
        holder = waiting.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def write_json(document: Any) -> bytes:
    """Write JSON with the numbers and nestings that the standard library refuses."""
    text = json.dumps(document)
    for name, raw in _RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode()
