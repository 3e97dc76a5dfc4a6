"""JSON from outside: one part that is bad hides no other, and none costs without bound."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.bounded.documents import MAX_VALUES, parse_json
from segwatch.geo.errors import TooComplex

values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_documents_are_read_as_json_reads_them(value: Any) -> None:
    text = json.dumps(value)
    assert (
        parse_json(text)
        == parse_json(text.encode("utf-16"))
        == parse_json(text, shallow=True)
        == json.loads(text)
    )


def test_a_list_that_is_too_deep_becomes_null_and_the_rest_stays() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    text = f'{{"before": [1, {deep}], "quoted": "[[[\\"", "after": {{"a": {deep}, "b": 2}}}}'
    read = parse_json(text)
    assert (read["quoted"], read["after"]["b"], read["before"][0]) == ('[[["', 2, 1)


def test_numbers_of_any_length_are_numbers() -> None:
    digits = "9" * 10_000
    assert parse_json(f"[{digits}, -{digits}, 12, 0.5]") == [float("inf"), float("-inf"), 12, 0.5]


def test_more_values_than_any_page_has_are_refused() -> None:
    with pytest.raises(TooComplex, match="values"):
        parse_json(b"[" + b"[]," * MAX_VALUES + b"1]")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "[" * 5000, "]", '"' + "\\" * 10_001, ""])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1|Extra data|Expecting"):
        parse_json(text)
