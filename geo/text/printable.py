"""Texts from outside, as they may reach terminals, logs and messages. Pure, standard library only.

Ids, titles, reasons and headers are other people's words. A newline in them forges a line of a log, an escape code
moves the cursor, and a mark of direction shows the characters that follow in another order than they have.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from segwatch.geo.text.redaction import redacted
from segwatch.geo.text.storable import shortened

#: Longest message of a log, in characters.
MAX_MESSAGE = 8000
#: What Unicode says neither shows nor separates words: controls, formats (marks of direction among them), halves of
#: surrogate pairs, what is private or unassigned, and the separators of lines and paragraphs.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Joiners that scripts and emoji need, between letters that show.
_JOINERS = frozenset("\u200c\u200d")
_ACTS_IN_CHAT = "<>@`|*\"'"
#: Look-alikes of the characters with which mentions (``<!channel>``, ``@everyone``), links and code begin.
_CHAT = str.maketrans({"<": "\u2039", ">": "\u203a", "@": "\uff20", "`": "'"})
_PLAIN = re.compile(r"[\x20-\x7e]*")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str, most: int | None = None) -> str:
    """A text in one line, with escapes such as ``\\n`` and ``\\x1b`` in the place of what does not show.

    Parameters
    ----------
    most
        Longest result, in characters; the last of a longer one is an ellipsis.
    """
    # what is cut off anyway need not be looked at
    given = text if most is None else text[: most + 1]
    shown = given if _PLAIN.fullmatch(given) else "".join(map(_visible, given))
    return shown if most is None else shortened(shown, most)


def lines(text: str) -> str:
    """As :func:`one_line` for a text that may have several lines; all but the first are indented, so that none of them
    passes for a line of its own.
    """
    return "\n  ".join(one_line(one) for one in text.replace("\r\n", "\n").split("\n"))


def clean(text: str, most: int = MAX_MESSAGE) -> str:
    """One line of bounded length without secrets: a reason that is stored, a message of a log."""
    # cut before, as looking for secrets takes time; and after, as a secret that a cut goes through is not recognised
    return one_line(redacted(text[: 2 * most + MAX_MESSAGE]), most)


def for_chat(text: str) -> str:
    """A text in a message to people: services take no part of it for a mention, a link, markup or a header."""
    return clean(text).translate(_CHAT).replace("](", "] (")


def link_for_chat(href: str) -> str:
    """An address in such a message; it leads where it led."""
    return "".join(quote(one) if one in _ACTS_IN_CHAT or one.isspace() else one for one in clean(href))


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    if unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
