"""Write the briefing of a watch in every format, and store it beside the quicklooks."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from segwatch.db.errors import describe_error
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.report.briefing import Request, gather_briefing
from segwatch.flows.report.exposure import Layers
from segwatch.flows.report.first_page import write_first_page
from segwatch.flows.report.html import Rendered, render, render_html
from segwatch.flows.runtime import quicklook_store
from segwatch.flows.runtime.extras import has_extra

_log = logging.getLogger(__name__)
#: Stands for the time of writing in a digest.
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class ReportFormat(StrEnum):
    """Formats of a briefing, by the extension of its file."""

    HTML = "html"
    PDF = "pdf"
    PNG = "png"
    GPKG = "gpkg"


def write(engine: Engine, rendered: Rendered, form: ReportFormat) -> bytes:
    """Write a briefing in one format.

    Raises
    ------
    ConfigError
        An extra that the format needs is not installed.
    """
    if form is ReportFormat.HTML:
        return render_html(rendered).encode()
    # each library takes longer to import than most commands run
    if form is ReportFormat.PDF:
        from segwatch.flows.report.paper import render_pdf

        return render_pdf(rendered)
    if form is ReportFormat.PNG:
        from segwatch.flows.report.picture import render_png

        return render_png(rendered)
    from segwatch.flows.report.geopackage import write_geopackage

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "briefing.gpkg"
        write_geopackage(engine, rendered.briefing, target)
        return target.read_bytes()


def list_layers(settings: FlowSettings) -> Layers:
    """List the exposure layers that the settings name."""
    return Layers(settings.report_population, settings.report_buildings, settings.report_roads)


def publish(engine: Engine, settings: FlowSettings, name: str) -> tuple[Rendered, str]:
    """Write ``briefing.html``, ``.pdf``, ``.png`` and, with the extra ``analysis``, ``.gpkg`` of a watch.

    Paper and picture take most of the time and show what the page shows: those three keep their version until the page
    says something else. The GeoPackage holds more, and is always written. A format that cannot be made costs neither
    the others nor the run: the log says why.

    Returns
    -------
    Rendered
        What the files say, in the language of the settings.
    str
        Location of the HTML file, or why there is none.
    """
    found = gather_briefing(engine, settings, Request(name, layers=list_layers(settings)))
    rendered = render(found, settings.report_language)
    if has_extra("analysis"):
        _try_storing(engine, settings, name, rendered, ReportFormat.GPKG)
    digest, digest_path = _compute_digest(rendered), f"{name}/briefing.sha256"
    page = f"{name}/briefing.{ReportFormat.HTML}"
    if quicklook_store.read_file(settings, digest_path, expected=False) == digest:
        where = quicklook_store.find_file(settings, page)
        if where is not None:
            return rendered, where
    where = _store(settings, name, ReportFormat.HTML, partial(write, engine, rendered, ReportFormat.HTML))
    others = [
        _try_storing(engine, settings, name, rendered, form) for form in (ReportFormat.PDF, ReportFormat.PNG)
    ]
    if where is None:
        why = (
            quicklook_store.NO_STORAGE
            if quicklook_store.find_storage(settings) is None
            else "it could not be stored, see the log"
        )
        return rendered, f"not stored: {why}"
    if all(others):
        # last: what a killed run left half written is written again
        quicklook_store.store_file(settings, digest_path, digest)
    return rendered, where


def _compute_digest(rendered: Rendered) -> bytes:
    """Return the SHA-256, in hexadecimal, of the page as it would be whenever it was written."""
    found = rendered.briefing
    timeless = replace(found, situation=replace(found.situation, written_at=_ANY_TIME))
    page = render_html(
        replace(rendered, briefing=timeless, page=write_first_page(timeless, rendered.language))
    )
    return hashlib.sha256(page.encode()).hexdigest().encode()


def _try_storing(
    engine: Engine, settings: FlowSettings, name: str, rendered: Rendered, form: ReportFormat
) -> bool:
    """Store one format; on failure warn and return False."""
    try:
        return _store(settings, name, form, partial(write, engine, rendered, form)) is not None
    except Exception as error:
        _log.warning("%s/briefing.%s could not be made: %s", name, form, describe_error(error))
        return False


def _store(settings: FlowSettings, name: str, form: ReportFormat, make: Callable[[], bytes]) -> str | None:
    """Store a file of the briefing; nothing is made where nothing can be stored."""
    if not quicklook_store.has_storage(settings):
        return None
    return quicklook_store.store_file(settings, f"{name}/briefing.{form}", make())
