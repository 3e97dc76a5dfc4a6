"""The maps of a briefing, before and after, with their legend and the locator map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from segwatch.db.analyst import Outline
from segwatch.flows.report.briefing import Briefing, Note, View
from segwatch.flows.report.drawing import (
    FAINT,
    INK,
    WHITE,
    Area,
    Colour,
    Drawing,
    Label,
    Line,
    Pen,
    Raster,
    Shape,
    hatch,
    make_box,
    move,
)
from segwatch.flows.report.frame import Frame, draw_furniture, draw_graticule, fit_frame
from segwatch.flows.report.imagery import fit_background
from segwatch.flows.report.language import Language
from segwatch.flows.report.locator import draw_locator
from segwatch.geo.area import compute_area_m2
from segwatch.geo.text.printable import to_one_line
from segwatch.geo.text.storable import shorten

#: Okabe and Ito's colours, which people with any colour vision tell apart; the last one is for all further targets.
TARGET_COLOURS: tuple[Colour, ...] = (
    (213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (110, 110, 110),
)  # fmt: skip
_NO_DATA: Colour = (236, 239, 242)
_HATCH = Pen((40, 40, 40), 0.18)
#: Outline by status; objects without a status are drawn as provisional ones.
_PENS = {"confirmed": (0.45, ()), "refuted": (0.3, (0.3, 0.7)), "provisional": (0.4, (1.3, 0.7))}
_LOST = Pen((0, 0, 0), 0.3, (2.2, 0.6, 0.4, 0.6))
#: Smaller objects get a dot, mm² on the page.
_DOT_MM2, _DOT_MM = 0.25, 0.45
_OLD, _NEW = 0.28, 0.72

_MAP_WIDTH_MM = 91.0
MAP_HEIGHTS_MM = (82.0, 74.0, 66.0, 58.0, 46.0)
"""Heights of the maps, the first that leaves room for the rest of the page is taken."""
STRIP_MM = (186.0, 30.0)
_LOCATOR_MM = 44.0


@dataclass(frozen=True, slots=True)
class Maps:
    """The drawings of a briefing."""

    before: Drawing | None
    after: Drawing | None
    strip: Drawing
    """Legend and locator map."""
    denominator: int | None
    """Number N of the map scale 1 : N; None = there are no maps."""


def draw_maps(briefing: Briefing, language: Language, height: float = MAP_HEIGHTS_MM[0]) -> Maps:
    """Draw the maps of a briefing in one language, so many millimetres high."""
    frame = fit_frame(briefing.area, _MAP_WIDTH_MM if briefing.before else STRIP_MM[0], height)
    before = after = None
    if briefing.before is not None:
        before = _draw_view(briefing, briefing.before, frame, language, "map.before")
    if briefing.after is not None:
        title = "map.after" if briefing.before else "map.only"
        after = _draw_view(briefing, briefing.after, frame, language, title)
    return Maps(before, after, _draw_strip(briefing, language), frame.denominator if after else None)


def draw_qr(url: str, words: str, side: float) -> Drawing:
    """Draw an address as a QR code that cameras read; ``side`` in millimetres, with its quiet zone."""
    import segno

    matrix = segno.make(url, error="m", micro=False).matrix_iter(border=4)
    dark = [(x, y) for y, row in enumerate(matrix) for x, one in enumerate(row) if one]
    size = 1 + max(max(place) for place in dark) + 4
    step = side / size
    squares = shapely.box(*(np.array(dark).T * step), *((np.array(dark).T + 1) * step))
    code = Area(shapely.union_all(squares, grid_size=step / 100), (0, 0, 0))
    return Drawing(side, side, (Area(make_box(0, 0, side, side), WHITE), code), words)


def list_targets(briefing: Briefing) -> list[str]:
    """List the targets in the order of their colours: largest area first."""
    shown = [row["target"] for row in briefing.totals]
    earlier = [one.target for one in briefing.before.outlines.objects] if briefing.before else []
    return list(dict.fromkeys([*shown, *earlier]))


def _choose_colour(targets: Sequence[str], target: str) -> Colour:
    number = targets.index(target) if target in targets else len(TARGET_COLOURS)
    return TARGET_COLOURS[min(number, len(TARGET_COLOURS) - 1)]


def _draw_view(briefing: Briefing, view: View, frame: Frame, language: Language, title: str) -> Drawing:
    notes: list[Note] = []
    shapes: list[Shape] = [Area(make_box(0, 0, frame.width, frame.height), _NO_DATA)]
    if view.background is not None:
        shapes.append(Raster(0, 0, frame.width, frame.height, fit_background(view.background, frame)))
        # pale imagery: thin outlines of any colour stand out
        shapes.append(Area(make_box(0, 0, frame.width, frame.height), WHITE, 0.4))
        notes.append(("map.imagery", {"when": view.background.acquired_at}))
    else:
        notes.append((view.no_background, {}))
    shapes += draw_graticule(frame, language)
    unseen = frame.place(view.unseen)
    is_after = view is briefing.after and briefing.before is not None
    shapes += _draw_objects(briefing, view, frame, is_after=is_after)
    shapes += [
        Line(hatch(unseen), Pen(WHITE, 0.45)),
        Line(hatch(unseen), _HATCH),
        Area(unseen, pen=Pen(INK, 0.2)),
    ]
    shapes.append(Area(frame.place(briefing.area), pen=Pen(INK, 0.5, (3, 1, 0.6, 1))))
    shapes += draw_furniture(frame, language)
    name = language.say(title, when=language.write_moment(view.at))
    cut = view.outlines
    if len(cut.objects) < cut.of_all:
        notes.append(("map.cut", {"shown": len(cut.objects), "all": cut.of_all}))
    words = language.say(
        "map.words", title=name, objects=language.write_number(len(cut.objects)),
        targets=to_one_line(language.write_list(sorted({one.target for one in cut.objects})), 200) or "0",
        unseen=language.write_percent(_share(view.unseen, briefing.area)),
    )  # fmt: skip
    return Drawing(frame.width, frame.height, tuple(shapes), words, tuple(notes))


def _share(part: BaseGeometry, whole: BaseGeometry) -> float:
    return min(1.0, compute_area_m2(part) / compute_area_m2(whole))


def _draw_objects(briefing: Briefing, view: View, frame: Frame, *, is_after: bool) -> Iterator[Shape]:
    """Draw objects pale, newly covered ground strong, then outlines by status, and dots for what is too small."""
    targets = list_targets(briefing)
    placed = [(one, frame.place(one.geometry)) for one in view.outlines.objects]
    for one, shape in placed:
        yield Area(shape, _choose_colour(targets, one.target), _OLD)
    if is_after:
        for target, geometry in briefing.changed.new.items():
            yield Area(frame.place(geometry), _choose_colour(targets, target), _NEW - _OLD)
        lost = frame.place(briefing.changed.lost)
        yield Area(lost, pen=Pen(WHITE, 0.6))
        yield Area(lost, pen=_LOST)
    for one, shape in placed:
        yield from _draw_outline(one, shape, _choose_colour(targets, one.target))


def _draw_outline(one: Outline, shape: BaseGeometry, colour: Colour) -> Iterator[Shape]:
    width, dashes = _PENS[one.status if one.status in _PENS else "provisional"]
    if shape.is_empty:
        return
    if shape.area < _DOT_MM2:
        yield Area(Point(shape.centroid).buffer(_DOT_MM), colour, pen=Pen(WHITE, 0.12))
        return
    yield Area(shape, pen=Pen(WHITE, width + 0.25))
    yield Area(shape, pen=Pen(colour, width, dashes))


def _draw_strip(briefing: Briefing, language: Language) -> Drawing:
    width, height = STRIP_MM
    entries = list(_list_entries(briefing, language))
    shapes: list[Shape] = [Label(0, 3.2, language.say("legend"), 2.6, bold=True)]
    column = (width - _LOCATOR_MM - 4) / 2
    rows = -(-len(entries) // 2)
    step = min(5.2, (height - 6) / max(1, rows))
    for number, (sample, text) in enumerate(entries):
        x, y = (number // rows) * column, 5.5 + (number % rows) * step
        shapes += move(list(sample), x, y)
        shapes.append(Label(x + 9.5, y + 2.6, shorten(text, 62), 2.3))
    lon, lat = briefing.centre
    locator = draw_locator(lon, lat, _LOCATOR_MM, height - 0.6, language.say("locator"))
    shapes += move(locator, width - _LOCATOR_MM - 0.3, 0.3)
    words = language.say(
        "legend.words", entries="; ".join(text for _, text in entries), point=language.write_place(lon, lat)
    )
    return Drawing(width, height, tuple(shapes), words)


def _list_entries(briefing: Briefing, language: Language) -> Iterator[tuple[Sequence[Shape], str]]:
    """List the legend: a sample of 8 x 3.4 mm and its meaning, only for what the maps can show."""
    sample = make_box(0.2, 0.2, 7.6, 3.0)
    targets = list_targets(briefing)
    compared = briefing.before is not None
    for number, target in enumerate(targets[: len(TARGET_COLOURS)]):
        is_last = number == len(TARGET_COLOURS) - 1
        name = language.say("legend.other") if is_last else to_one_line(target, 30)
        colour = TARGET_COLOURS[number]
        if compared:
            yield [Area(sample, colour, _NEW)], language.say("legend.new", target=name)
            yield [Area(sample, colour, _OLD)], language.say("legend.old", target=name)
        else:
            yield [Area(sample, colour, _OLD)], name
    colour = TARGET_COLOURS[0] if len(targets) == 1 else FAINT
    statuses = {
        one.status for view in (briefing.before, briefing.after) if view for one in view.outlines.objects
    }
    for status in ("confirmed", "provisional", "refuted"):
        if status != "refuted" or status in statuses:
            pen = Pen(colour, *_PENS[status])
            yield [Area(sample, pen=pen)], language.say(f"legend.{status}")
    if compared and not briefing.changed.lost.is_empty:
        yield [Area(sample, pen=_LOST)], language.say("legend.lost")
    yield [Line(hatch(sample), _HATCH), Area(sample, pen=Pen(INK, 0.2))], language.say("legend.unseen")
    yield [Area(sample, pen=Pen(INK, 0.5, (3, 1, 0.6, 1)))], language.say("legend.area")
