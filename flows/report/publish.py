"""Write the briefing of a watch in every format, and store it beside the quicklooks."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from segwatch.db.errors import describe_error
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.report.briefing import Request, gather_briefing
from segwatch.flows.report.exposure import Layers
from segwatch.flows.report.html import Rendered, render, render_html
from segwatch.flows.runtime import quicklook_store
from segwatch.flows.runtime.extras import has_extra

_log = logging.getLogger(__name__)


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

    A format that cannot be made costs neither the others nor the run: the log says why.

    Returns
    -------
    Rendered
        What the files say, in the language of the settings.
    str
        Location of the HTML file, or why there is none.
    """
    found = gather_briefing(engine, settings, Request(name, layers=list_layers(settings)))
    rendered = render(found, settings.report_language)
    where = _store(settings, name, ReportFormat.HTML, partial(write, engine, rendered, ReportFormat.HTML))
    others: Sequence[ReportFormat] = [ReportFormat.PDF, ReportFormat.PNG]
    if has_extra("analysis"):
        others = [*others, ReportFormat.GPKG]
    for form in others:
        try:
            _store(settings, name, form, partial(write, engine, rendered, form))
        except Exception as error:
            _log.warning("%s/briefing.%s could not be made: %s", name, form, describe_error(error))
    if where is None:
        why = (
            quicklook_store.NO_STORAGE
            if quicklook_store.find_storage(settings) is None
            else "it could not be stored, see the log"
        )
        where = f"not stored: {why}"
    return rendered, where


def _store(settings: FlowSettings, name: str, form: ReportFormat, make: Callable[[], bytes]) -> str | None:
    """Store a file of the briefing; nothing is made where nothing can be stored."""
    if not quicklook_store.has_storage(settings):
        return None
    return quicklook_store.store_file(settings, f"{name}/briefing.{form}", make())
