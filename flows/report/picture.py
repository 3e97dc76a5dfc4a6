"""The first page of a briefing as PNG, for chats and slides: the same words and drawings, painted by Pillow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from segwatch.flows.report.briefing import write_version
from segwatch.flows.report.drawing import FAINT, INK, WHITE, Area, Drawing, Label, Pen, Shape, make_box
from segwatch.flows.report.html import Rendered, draw_live_code, list_figures
from segwatch.flows.report.painting import Painter

#: Width of A4, and room for more than fits on one sheet.
_WIDTH, _HEIGHT = 210.0, 420.0
_MARGIN = 12.0
_DOTS_PER_MM = 6.0
_LINE = 1.32
_BLUE, _ORANGE, _PALE = (0, 114, 178), (213, 94, 0), (253, 240, 230)


class _Page:
    """A page that is filled from top to bottom."""

    def __init__(self) -> None:
        self.painter = Painter(_WIDTH, _HEIGHT, dots_per_mm=_DOTS_PER_MM)
        self.y = _MARGIN

    def put(self, shapes: Sequence[Shape], y: float | None = None) -> None:
        """Paint shapes; their origin is the left margin at the present height."""
        drawing = Drawing(_WIDTH, _HEIGHT, tuple(shapes), "")
        self.painter.paint(drawing, _MARGIN, self.y if y is None else y)

    def wrap(self, text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
        """Break a text into lines that are not wider than some millimetres; longer words are broken, too."""
        lines, line = [], ""
        for given in text.split(" "):
            word = given
            longer = f"{line} {word}" if line else word
            if self.painter.measure(longer, size, bold=bold) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            while self.painter.measure(word, size, bold=bold) > width:
                cut = max(1, int(len(word) * width / self.painter.measure(word, size, bold=bold)) - 1)
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        return [*lines, line] if line else lines

    def write(
        self, text: str, size: float, *, width: float | None = None, x: float = 0.0, bold: bool = False,
        colour: tuple[int, int, int] = INK, y: float | None = None,
    ) -> float:  # fmt: skip
        """Write a text; returns the height below it. Without ``y`` the page goes on there."""
        top = self.y if y is None else y
        for line in self.wrap(text, size, width or _WIDTH - 2 * _MARGIN - x, bold=bold):
            self.put([Label(x, size, line, size, bold=bold, colour=colour)], top)
            top += size * _LINE
        if y is None:
            self.y = top
        return top


def render_png(rendered: Rendered) -> bytes:
    """Render the first page, as wide as A4 and as high as what stands on it."""
    page, words = _Page(), rendered.page
    _put_header(page, rendered)
    _put_tiles(page, rendered)
    _put_maps(page, rendered)
    _put_columns(page, rendered)
    page.put([Area(make_box(0, 0, _WIDTH - 2 * _MARGIN, 0.3), INK)])
    page.y += 1.4
    say = rendered.language.say
    lines = [
        f"{say('sources')}: {' '.join(words.sources)}",
        f"{say('model')}: {' '.join((*words.model, *words.notes))}",
        _sign(rendered),
        words.version,
    ]
    code = draw_live_code(rendered)
    room = code.width + 3 if code else 0.0
    if code:
        page.painter.paint(code, _WIDTH - _MARGIN - code.width, page.y)
    bottom = page.y + (code.height if code else 0.0)
    for line in lines:
        page.write(line, 1.9, width=_WIDTH - 2 * _MARGIN - room, colour=FAINT)
    return page.painter.write_png(max(bottom, page.y) + _MARGIN)


def _sign(rendered: Rendered) -> str:
    say = rendered.language.say
    return f"{say('contact')}: {rendered.page.contact} · {say('live')}: {rendered.page.live}"


def _put_header(page: _Page, rendered: Rendered) -> None:
    words, width = rendered.page, _WIDTH - 2 * _MARGIN
    written = rendered.briefing.situation.written_at
    page.put([
        Area(make_box(0, 0, width, 5.4), INK),
        Label(2, 3.7, words.product, 2.7, bold=True, colour=WHITE),
        Label(width - 2, 3.7, write_version(written), 2.7, "end", bold=True, colour=WHITE),
    ])  # fmt: skip
    page.y += 7
    page.write(words.title, 5.4, bold=True)
    page.y += 0.8
    for line in words.lines:
        page.write(line, 2.4, colour=FAINT)
    if words.banner:
        height = len(page.wrap(words.banner, 2.5, width - 5, bold=True)) * 2.5 * _LINE + 2.4
        page.y += 1
        page.put([Area(make_box(0, 0, width, height), _PALE, pen=Pen(_ORANGE, 0.6))])
        page.write(words.banner, 2.5, width=width - 5, x=2.5, bold=True, y=page.y + 1.2)
        page.y += height
    page.y += 1.6
    page.write(words.known, 3.4)
    page.y += 1.6


def _put_tiles(page: _Page, rendered: Rendered) -> None:
    third, lowest = (_WIDTH - 2 * _MARGIN) / 3, page.y
    for number, tile in enumerate(rendered.page.tiles):
        x = number * third + 3
        wide = page.painter.measure(tile.number, 6.0, bold=True)
        page.put([
            Label(x, 5.2, tile.number, 6.0, bold=True), Label(x + wide + 1.5, 5.2, tile.unit, 3.4)
        ])  # fmt: skip
        y = page.write(tile.label, 2.7, width=third - 6, x=x, bold=True, y=page.y + 7)
        for text in (tile.detail, tile.interval):
            y = page.write(text, 2.2, width=third - 6, x=x, y=y + 0.3)
        lowest = max(lowest, y)
    bars = [make_box(number * third, 0, 1.0, lowest - page.y) for number in range(3)]
    page.put([Area(bar, _BLUE) for bar in bars])
    page.y = lowest + 2.4


def _put_maps(page: _Page, rendered: Rendered) -> None:
    figures = list_figures(rendered)
    maps = rendered.maps
    drawings = [one for one in (maps.before, maps.after) if one is not None] if maps else []
    if not drawings:
        page.write(" ".join(one.notes for one in figures), 2.4)
    lowest = page.y
    for number, (drawing, figure) in enumerate(zip(drawings, figures, strict=False)):
        x = 0.0 if number == 0 else _WIDTH - 2 * _MARGIN - drawing.width
        page.painter.paint(drawing, _MARGIN + x, page.y)
        y = page.write(
            figure.title, 2.5, width=drawing.width, x=x, bold=True, y=page.y + drawing.height + 0.8
        )
        lowest = max(lowest, page.write(figure.notes, 2.1, width=drawing.width, x=x, y=y))
    page.y = lowest + 1.2
    if maps:
        page.painter.paint(maps.strip, _MARGIN, page.y)
        page.y += maps.strip.height + 1.6


def _put_columns(page: _Page, rendered: Rendered) -> None:
    words, say = rendered.page, rendered.language.say
    half = (_WIDTH - 2 * _MARGIN) / 2
    left = page.write(say("unseen"), 2.8, width=half - 3, bold=True, y=page.y)
    left = _write_all(page, words.unseen, 0.0, half - 3, left)
    right = page.write(say("exposure"), 2.8, width=half - 3, x=half, bold=True, y=page.y)
    if words.exposure:
        head = ("", say("exposure.affected"), say("exposure.unaffected"), say("exposure.unseen"))
        for row in (head, *words.exposure):
            labels = [Label(half, 2.3, row[0], 2.2)]
            labels += [
                Label(half + 45 + 22 * number, 2.3, cell, 2.2, "end") for number, cell in enumerate(row[1:])
            ]
            page.put(labels, right)
            right += 3.2
    right = _write_all(page, (words.exposure_note,), half, half - 3, right)
    page.y = max(left, right) + 1.4


def _write_all(page: _Page, texts: Iterable[str], x: float, width: float, y: float) -> float:
    for text in texts:
        y = page.write(text, 2.1, width=width, x=x, y=y)
    return y
