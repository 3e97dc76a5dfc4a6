"""A briefing as PDF for printers and screen readers (PDF/UA-1, tagged), by WeasyPrint."""

from __future__ import annotations

import logging

from segwatch.flows.report.html import PAPER, Rendered, render, render_html
from segwatch.flows.report.maps import MAP_HEIGHTS_MM

_VARIANT = "pdf/ua-1"
#: Name of the place where the second page begins.
_ANNEXES = "annexes"


def render_pdf(rendered: Rendered) -> bytes:
    """Render the page as PDF: the maps are as high as leaves the rest of the first page room.

    What the page embeds is in the page itself: no address is asked and no file is read.
    """
    # it takes longer to import than most commands run
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    fetcher = URLFetcher(allowed_protocols=("data",), allow_redirects=False)
    for height in MAP_HEIGHTS_MM:
        fitted = (
            rendered
            if height == MAP_HEIGHTS_MM[0]
            else render(rendered.briefing, rendered.language.code, map_height=height)
        )
        page = HTML(string=render_html(fitted, limits=PAPER), url_fetcher=fetcher)
        document = page.render(pdf_variant=_VARIANT)
        if _ANNEXES in document.pages[min(1, len(document.pages) - 1)].anchors:
            break
    content: bytes = document.write_pdf(pdf_variant=_VARIANT)
    return content
