"""Make text from outside safe to print in terminals, logs and chat messages. Pure, standard library only.

Ids, titles, reasons and headers come from other people. A newline in them forges a log line, an escape code moves the
cursor, and a bidirectional control (Unicode UAX #9) reorders the characters that follow.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from segwatch.geo.text.redaction import redact
from segwatch.geo.text.storable import shorten

MAX_MESSAGE_CHARS = 8000
"""Maximum length of a log message, in characters."""
#: Unicode categories that are invisible: controls, formats (such as bidirectional controls), surrogates, private use,
#: unassigned, line and paragraph separators.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Zero-width joiners, which scripts and emoji need.
_JOINERS = frozenset("\u200c\u200d")
#: Characters with a meaning in chat markup.
_CHAT_MARKUP = "<>@`|*\"'"
#: Look-alikes of the characters that start mentions (``<!channel>``, ``@everyone``), links and code.
_CHAT_ESCAPES = str.maketrans({"<": "\u2039", ">": "\u203a", "@": "\uff20", "`": "'"})
_PLAIN = re.compile(r"[\x20-\x7e]*")
#: Controls other than line ends and tabs, and marks that reorder what follows them until they are ended (UAX #9).
_ACTING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def to_one_line(text: str, max_chars: int | None = None) -> str:
    """Put a text on one line and replace invisible characters by escapes such as ``\\n`` and ``\\x1b``.

    Parameters
    ----------
    max_chars
        Maximum length of the result; a truncated one ends with an ellipsis.
    """
    given = text if max_chars is None else text[: max_chars + 1]
    shown = given if _PLAIN.fullmatch(given) else "".join(map(_visible, given))
    return shown if max_chars is None else shorten(shown, max_chars)


def to_safe_lines(text: str) -> str:
    """Escape every line as :func:`to_one_line` does and indent all but the first, so that none forges a log line."""
    return "\n  ".join(to_one_line(line) for line in text.replace("\r\n", "\n").split("\n"))


def sanitize(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Reduce a text to one line of bounded length without secrets, for stored reasons and log messages."""
    # cut generously before redaction, to bound its time: a secret that is cut in two would not be recognized
    return to_one_line(redact(text[: 2 * max_chars + MAX_MESSAGE_CHARS]), max_chars)


def find_acting(text: str) -> str | None:
    """Find the first character that acts on what follows it: a control, or a mark that reorders; escaped."""
    found = _ACTING.search(text)
    return None if found is None else to_one_line(found[0])


def escape_for_chat(text: str) -> str:
    """Escape a text for chat and mail, so that no service reads a mention, link, markup or header in it."""
    return sanitize(text).translate(_CHAT_ESCAPES).replace("](", "] (")


def escape_link_for_chat(href: str) -> str:
    """Escape a URL for chat and mail by percent-encoding; its target stays the same."""
    return "".join(quote(char) if char in _CHAT_MARKUP or char.isspace() else char for char in sanitize(href))


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    if unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
