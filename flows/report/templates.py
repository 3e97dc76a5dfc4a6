"""Templates of documents; text from outside is escaped, and a missing value is an error."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import jinja2

from segwatch.flows.report import formats, reliability
from segwatch.geo.text.beliefs import describe_belief
from segwatch.geo.text.opinions import describe_agreement, describe_change_evidence
from segwatch.geo.text.printable import to_one_line

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("segwatch.flows.report"), autoescape=True, undefined=jinja2.StrictUndefined
)
_FILTERS: dict[str, Any] = {
    "day": formats.format_day,
    "moment": formats.format_time,
    "name": lambda href: to_one_line(formats.shorten_href(href)),
    # nothing invisible, such as characters that turn the reading direction
    "line": to_one_line,
    "hectares": formats.format_hectares,
    "signed_hectares": formats.format_difference,
    "base64": lambda content: base64.b64encode(content).decode(),
    "reliability": lambda one: to_data_url(reliability.draw_svg(one.calibration)),
    "reliability_words": reliability.describe,
    "belief": describe_belief,
    "evidence": describe_change_evidence,
    "agreement": lambda row: describe_agreement(row["shadow_share"], row["shadow_iou"]),
    "is_web": lambda href: href.startswith(("http://", "https://")),
    # the text of a style sheet ends at quotes and lines
    "css": lambda text: "".join(f"\\{ord(one):06x}" if one in "\\\"'<>&\n\r\f" else one for one in text),
}
_ENVIRONMENT.filters |= _FILTERS


def render_template(name: str, filters: Mapping[str, Any] | None = None, **values: object) -> str:
    """Render a template of this folder.

    Parameters
    ----------
    filters
        Filters besides the common ones, or in their place.
    """
    environment = _ENVIRONMENT.overlay()
    environment.filters = {**_ENVIRONMENT.filters, **(filters or {})}
    return environment.get_template(name).render(**values)


def to_data_url(svg: str) -> str:
    """Embed an SVG document as the address of a picture, where it runs no scripts and reads no files."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
