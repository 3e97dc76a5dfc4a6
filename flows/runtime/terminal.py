"""The console of every command: what it prints shows as it is, and moves nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from segwatch.geo.text.printable import lines
from segwatch.geo.text.redaction import redacted


class SafeConsole(Console):
    """A console on which no text, markup or cell of a table acts: escape codes are shown, further lines are indented.

    Emoji and highlighting are off: ":x:" in a path or message is no picture.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string that is printed comes through here."""
        return super().render_str(lines(redacted(text)), **options)
