"""Console of every command: shows text as it is, without interpreting escape codes or markup in it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from segwatch.geo.text.printable import to_safe_lines
from segwatch.geo.text.redaction import redact


class SafeConsole(Console):
    """Console that shows escape codes instead of executing them, and indents further lines of a text.

    Emoji codes and highlighting are off, so that ":x:" in a path or message stays as it is.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Clean a string; every printed string passes through here."""
        return super().render_str(to_safe_lines(redact(text)), **options)
