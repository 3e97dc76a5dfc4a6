"""The situation report as one HTML file."""

from __future__ import annotations

import base64
from typing import Any

import jinja2

from segwatch.flows.report import formats, reliability
from segwatch.flows.report.situation import Situation
from segwatch.geo.text.beliefs import describe_belief
from segwatch.geo.text.opinions import describe_agreement, describe_change_evidence

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("segwatch.flows.report"), autoescape=True, undefined=jinja2.StrictUndefined
)
_FILTERS: dict[str, Any] = {
    "day": formats.format_day,
    "moment": formats.format_time,
    "name": formats.shorten_href,
    "hectares": formats.format_hectares,
    "signed_hectares": formats.format_difference,
    "base64": lambda content: base64.b64encode(content).decode(),
    "reliability": lambda one: reliability.draw_svg(one.calibration),
    "reliability_words": reliability.describe,
    "belief": describe_belief,
    "evidence": describe_change_evidence,
    "agreement": lambda row: describe_agreement(row["shadow_share"], row["shadow_iou"]),
    "is_web": lambda href: href.startswith(("http://", "https://")),
}
_ENVIRONMENT.filters |= _FILTERS


def render_html(situation: Situation) -> str:
    """Render a self-contained page; pictures are embedded, and text from outside is escaped."""
    return render_template("situation.html.j2", s=situation)


def render_template(name: str, **values: object) -> str:
    """Render a template of this folder; text from outside is escaped."""
    return _ENVIRONMENT.get_template(name).render(**values)
