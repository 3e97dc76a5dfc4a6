"""Choose the quicklooks that a situation report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping

from segwatch.flows.config.settings.imagery import QuicklookSettings
from segwatch.flows.report.formats import format_time
from segwatch.flows.runtime import quicklook_store
from segwatch.geo.text.opinions import describe_scene_agreement


@dataclass(frozen=True, slots=True)
class Picture:
    """A quicklook with its caption."""

    title: str
    acquired_at: datetime
    content: bytes
    """JPEG."""
    agreement: str = ""
    """How far the shadow segmenter agrees on the scene, in words; empty where nothing was compared."""

    @property
    def caption(self) -> str:
        """Title, acquisition time and agreement."""
        taken = f"{self.title}: {format_time(self.acquired_at)}"
        return f"{taken}; {self.agreement}" if self.agreement else taken


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
        Picture(title, row["acquired_at"], content, describe_scene_agreement(row["shadow"], row["agreement"]))
        for title, row, content in found
        if content is not None
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
