"""Store the situation report beside the quicklooks of its watch."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from segwatch.db.errors import describe_error
from segwatch.flows.config.settings.imagery import QuicklookSettings
from segwatch.flows.report.html import render_html
from segwatch.flows.report.pdf import render_pdf
from segwatch.flows.report.situation import Situation, gather
from segwatch.flows.runtime import quicklook_store

_log = logging.getLogger(__name__)


def publish(engine: Engine, settings: QuicklookSettings, name: str) -> tuple[Situation, str]:
    """Write ``situation.html`` and ``situation.pdf`` of a watch.

    Returns
    -------
    Situation
        What the report shows.
    str
        Location of the HTML file, or why there is none.
    """
    situation = gather(engine, settings, name)
    where = quicklook_store.store_file(settings, f"{name}/situation.html", render_html(situation).encode())
    try:
        quicklook_store.store_file(settings, f"{name}/situation.pdf", render_pdf(situation))
    except Exception as error:
        # the HTML file has the same content: a run does not fail because of the PDF
        _log.warning("%s/situation.pdf could not be made: %s", name, describe_error(error))
    if where is None:
        why = (
            quicklook_store.NO_STORAGE
            if quicklook_store.find_storage(settings) is None
            else "it could not be stored, see the log"
        )
        where = f"not stored: {why}"
    return situation, where
