"""Text from outside on terminals and in logs."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.text.printable import MAX_MESSAGE_CHARS, sanitize, to_one_line, to_safe_lines

HOSTILE = {
    "a newline": "x\nERROR root forged",
    "a carriage return": "x\rERROR forged",
    "an escape code": "x\x1b[2J\x1b]0;title\x07",
    "an 8-bit escape code": "x\x9b31m",
    "a backspace": "x\b\b\b",
    "NUL": "x\0y",
    "a mark of direction": "x\u202eevil\u2066",
    "a separator of lines": "x\u2028y\u2029z\x85",
    "what has no width": "x\u200b\ufeff\u2060y",
    "a tag": "x\U000e0041",
    "half a pair": "x\ud800",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_invisible_characters_are_escaped(text: str) -> None:
    shown = to_one_line(text)
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()
    assert "\\" in shown


def test_letters_of_all_scripts_are_kept() -> None:
    for text in ("Überschwemmung", "水害 2024", "می‌خواهم", "👩‍🚀", "é", "a\u00a0b"):
        assert to_one_line(text) == text


@given(st.text(max_size=200))
def test_any_text_becomes_one_harmless_line(text: str) -> None:
    shown = to_one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(one) in {"Cc", "Cs", "Zl", "Zp"} for one in shown)
    assert to_one_line(shown) == shown


@given(st.text(max_size=200))
def test_further_lines_are_indented(text: str) -> None:
    assert all(one.startswith("  ") for one in to_safe_lines(text).splitlines()[1:])


def test_long_texts_are_truncated() -> None:
    assert len(sanitize("x" * 50_000_000)) == MAX_MESSAGE_CHARS
    assert len(to_one_line("\x1b" * 1000, 10)) == 10
