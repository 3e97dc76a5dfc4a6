"""A briefing as one HTML file: self-contained, for screens, readers and printers."""

from __future__ import annotations

from dataclasses import dataclass

from segwatch.db.errors import describe_error
from segwatch.flows.report.briefing import Briefing, write_version
from segwatch.flows.report.drawing import Drawing, write_svg
from segwatch.flows.report.first_page import FirstPage, write_first_page, write_note
from segwatch.flows.report.language import Language, load_language
from segwatch.flows.report.maps import MAP_HEIGHTS_MM, Maps, draw_maps, draw_qr
from segwatch.flows.report.templates import render_template, to_data_url

_CODE_MM = 20.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the annexes a format takes; what is left out is counted."""

    scenes: int
    """The newest ones."""
    items: int
    """Of each scene."""
    reason_chars: int


SCREEN = Limits(scenes=5000, items=10_000, reason_chars=10_000)
PAPER = Limits(scenes=100, items=5, reason_chars=300)


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing on the page."""

    title: str
    words: str
    notes: str
    image: str
    """Data URL; empty = it could not be drawn, and ``notes`` says why."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A briefing in one language, ready to be written in any format."""

    briefing: Briefing
    language: Language
    page: FirstPage
    maps: Maps | None
    """None = they could not be drawn."""
    problem: str
    """Why there are no maps; empty = there are."""


def render(briefing: Briefing, code: str = "en", *, map_height: float = MAP_HEIGHTS_MM[0]) -> Rendered:
    """Write the words and draw the maps of a briefing in a language; maps that fail say why."""
    language = load_language(code)
    page = write_first_page(briefing, language)
    try:
        return Rendered(briefing, language, page, draw_maps(briefing, language, map_height), "")
    except Exception as error:  # whatever a geometry or picture does to a map, the figures must get out
        reason = language.say("map.failed", reason=describe_error(error))
        return Rendered(briefing, language, page, None, reason)


def render_html(rendered: Rendered, *, limits: Limits = SCREEN) -> str:
    """Render the page; the annexes are as long as the limits allow."""
    briefing, language, page = rendered.briefing, rendered.language, rendered.page
    footer = f"{page.product} · {page.title} · {write_version(briefing.situation.written_at)}"
    code = draw_live_code(rendered)
    filters = {
        "say": language.say,
        "moment": language.write_moment,
        "percent": language.write_percent,
        "area": language.write_area,
    }
    return render_template(
        "briefing.html.j2", filters, l=language, p=page, s=briefing.situation, maps=list_figures(rendered),
        strip=_make_strip(rendered), number=write_version(briefing.situation.written_at), footer=footer, limits=limits,
        live=briefing.live_url, qr=to_data_url(write_svg(code)) if code else "",
        extents=briefing.extent.moments if briefing.extent else (),
    )  # fmt: skip


def list_figures(rendered: Rendered) -> list[Figure]:
    """List the maps with their captions; where they failed, one entry says why."""
    if rendered.maps is None:
        return [Figure("", "", rendered.problem, "")]
    language, maps = rendered.language, rendered.maps
    scale = (
        ""
        if maps.denominator is None
        else language.say("map.scale", number=language.write_number(maps.denominator))
    )
    compared = maps.before is not None
    pairs = [
        (maps.before, rendered.briefing.before, "map.before"),
        (maps.after, rendered.briefing.after, "map.after" if compared else "map.only"),
    ]
    return [
        _make_figure(drawing, language, language.say(key, when=language.write_moment(view.at)), scale)
        for drawing, view, key in pairs
        if drawing is not None and view is not None
    ]


def _make_figure(drawing: Drawing, language: Language, title: str, scale: str) -> Figure:
    notes = [f"{scale}."] if scale else []
    notes += [
        text if text.endswith(".") else f"{text}."
        for text in (write_note(one, language) for one in drawing.notes)
    ]
    return Figure(f"{title}.", drawing.words, " ".join(notes), to_data_url(write_svg(drawing)))


def _make_strip(rendered: Rendered) -> Figure:
    if rendered.maps is None:
        return Figure("", "", "", "")
    strip = rendered.maps.strip
    return Figure("", strip.words, "", to_data_url(write_svg(strip)))


def draw_live_code(rendered: Rendered) -> Drawing | None:
    """Draw the QR code of the live view; None where there is no address."""
    url = rendered.briefing.live_url
    return draw_qr(url, rendered.language.say("live.words", url=url), _CODE_MM) if url else None
