"""A briefing as PDF for printers and screen readers (PDF/UA-1, tagged), by WeasyPrint."""

from __future__ import annotations

import logging

from segwatch.flows.report.html import Rendered, render_html

#: Items of a scene that paper lists, with a count of the others.
_MAX_ITEMS = 5
_VARIANT = "pdf/ua-1"


def render_pdf(rendered: Rendered) -> bytes:
    """Render the page as PDF. What it embeds is in the page itself: no address is asked and no file is read."""
    # it takes longer to import than most commands run
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    page = HTML(
        string=render_html(rendered, items=_MAX_ITEMS),
        url_fetcher=URLFetcher(allowed_protocols=("data",), allow_redirects=False),
    )
    content: bytes = page.write_pdf(pdf_variant=_VARIANT)
    return content
