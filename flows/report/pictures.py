"""Choose the quicklooks that a situation report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping

from segwatch.flows.config.settings.imagery import QuicklookSettings
from segwatch.flows.runtime import quicklook_store


@dataclass(frozen=True, slots=True)
class Picture:
    """A quicklook with its caption."""

    title: str
    acquired_at: datetime
    content: bytes
    """JPEG."""


def choose_pictures(settings: QuicklookSettings, observed: Sequence[RowMapping]) -> list[Picture]:
    """Read the first and the last quicklook of the observations, which are in order of acquisition."""
    shown = [row for row in observed if row["preview"] is not None]
    chosen = (
        [("before", shown[0]), ("after", shown[-1])]
        if len(shown) > 1
        else [("observed", row) for row in shown]
    )
    found = ((title, row, quicklook_store.read_file(settings, row["preview"])) for title, row in chosen)
    return [
        Picture(title, row["acquired_at"], content) for title, row, content in found if content is not None
    ]


def explain_missing_pictures(settings: QuicklookSettings, observed: Sequence[RowMapping]) -> str:
    """Say why a report has no pictures, and what to do about it."""
    if not observed:
        return "No scene was observed yet."
    if all(row["preview"] is None for row in observed):
        return "No quicklook was stored."
    where = quicklook_store.find_storage(settings)
    if where is None:
        return (
            "Quicklooks were stored; set SEGWATCH_EVIDENCE to the workers' value and write this report again."
        )
    return f"Quicklooks were stored, but none could be read below {where}."
