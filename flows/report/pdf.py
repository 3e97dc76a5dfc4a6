"""The situation report as PDF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segwatch.flows.report import reliability
from segwatch.flows.report.formats import (
    format_day,
    format_difference,
    format_hectares,
    format_time,
    shorten_href,
)
from segwatch.flows.report.situation import Situation
from segwatch.geo.text.beliefs import describe_belief
from segwatch.geo.text.opinions import describe_agreement, describe_change_evidence
from segwatch.geo.text.storable import shorten

if TYPE_CHECKING:
    from fpdf import FPDF

#: A table row must fit on a page.
_MAX_CELL_CHARS = 300
_MAX_NAMES = 5
#: Width and height of a reliability diagram.
_DIAGRAM_MM = 60
_MAX_NAME_CHARS = 80


def render_pdf(situation: Situation) -> bytes:
    """Render the report on A4: long reasons and item lists are cut, characters beyond Latin-1 become ``?``."""
    # most processes write no PDF, and it takes longer to import than it takes them to read their settings
    from fpdf import FPDF

    pdf = FPDF(format="A4")
    pdf.set_title(_to_latin(f"{situation.watch}: situation"))
    pdf.set_auto_page_break(auto=True, margin=15)
    pdf.add_page()
    _put_header(pdf, situation)
    _put_pictures(pdf, situation)
    _put_changes(pdf, situation)
    _put_calibrations(pdf, situation)
    _put_coverage(pdf, situation)
    _put_line(pdf, situation.attribution)
    return bytes(pdf.output())


def _put_header(pdf: FPDF, situation: Situation) -> None:
    _put_line(pdf, situation.watch, size=18)
    until = format_day(situation.until) if situation.until else "open end"
    period = f"{format_day(situation.since)} to {until}"
    _put_line(pdf, f"{situation.instruction}. {situation.area_km2:.1f} km2, {period}.")
    _put_line(pdf, f"Written {format_time(situation.written_at)}; model {situation.model or 'none yet'}.")
    _put_line(pdf, f"{situation.limits}.".replace("m²", "m2"))


def _put_changes(pdf: FPDF, situation: Situation) -> None:
    _put_line(pdf, "Total area", size=13)
    totals = [(_to_cell(one.target), *_sizes(one.before_m2, one.after_m2)) for one in situation.totals]
    days = (format_day(one) if one else "-" for one in (situation.first, situation.last))
    _put_table(pdf, ("target", *(f"ha {day}" for day in days), "difference"), totals)
    for one in situation.totals:
        _put_line(pdf, f"{_to_cell(one.target)}: {one.accuracy}")
    _put_line(pdf, "Changes", size=13)
    rows = [
        (
            _to_cell(row["target"]),
            row["kind"],
            str(row["objects"]),
            str(row["confirmed"]),
            *_sizes(row["before_m2"], row["after_m2"]),
        )
        for row in situation.changes.to_dict("records")
    ]
    rows += [
        (_to_cell(target), "refuted", str(count), "-", "-", "-", "-")
        for target, count in situation.refuted.items()
    ]
    _put_table(pdf, ("target", "change", "objects", "confirmed", "ha before", "ha after", "difference"), rows)
    _put_line(pdf, f"Largest: {situation.largest_share}", size=13)
    largest = [
        (format_time(row["valid_at"]), _to_cell(row["target"]), row["kind"], *_sizes(row["before_m2"], row["after_m2"]),
         f"{row['geometry'].x:.5f}, {row['geometry'].y:.5f}", describe_belief(row))
        for row in situation.largest.to_dict("records")
    ]  # fmt: skip
    columns = (
        "observed", "target", "change", "ha before", "ha after", "difference", "lon, lat", "how sure"
    )  # fmt: skip
    _put_table(pdf, columns, largest)
    for number, row in enumerate(situation.largest.to_dict("records"), start=1):
        words = describe_change_evidence(row["evidence"])
        agreement = describe_agreement(row["shadow_share"], row["shadow_iou"])
        _put_line(pdf, f"{number}. {_to_cell(row['target'])} {row['kind']}: {words}; {agreement}.", size=8)


def _put_calibrations(pdf: FPDF, situation: Situation) -> None:
    for one in situation.calibrations:
        _put_line(pdf, reliability.describe(one), size=9)
        if pdf.get_y() + _DIAGRAM_MM > pdf.eph:
            pdf.add_page()
        left, top = pdf.l_margin + 6, pdf.get_y() + 2
        pdf.image(io.BytesIO(reliability.draw_svg(one.calibration).encode()), x=left, y=top, w=_DIAGRAM_MM)
        pdf.set_y(top + _DIAGRAM_MM + 2)


def _put_coverage(pdf: FPDF, situation: Situation) -> None:
    _put_line(pdf, "Coverage", size=13)
    _put_line(
        pdf,
        f"{situation.observed_share:.0%} of the area was observed at least once since "
        f"{format_day(situation.since)}; {situation.gap_km2:.1f} km2 never.",
    )
    scenes = [
        (
            format_time(row["acquired_at"]),
            row["state"],
            "" if row["clear_share"] is None else f"{row['clear_share']:.0%}",
            _to_cell(row["reason"] or ""),
            _list_names(row["item_hrefs"]),
        )
        for row in situation.scenes.to_dict("records")
    ]
    _put_table(pdf, ("acquired", "outcome", "clear", "reason", "sources"), scenes)


def _put_pictures(pdf: FPDF, situation: Situation) -> None:
    pictures = situation.pictures
    if not pictures:
        _put_line(pdf, situation.without_pictures)
        return
    width = pdf.epw / 2 - 2
    top, lowest = pdf.get_y() + 2, 0.0
    for index, one in enumerate(pictures):
        left = pdf.l_margin + index * (width + 4)
        placed = pdf.image(io.BytesIO(one.content), x=left, y=top, w=width)
        bottom = top + placed.rendered_height
        pdf.set_font("helvetica", size=8)
        pdf.set_xy(left, bottom + 1)
        pdf.multi_cell(width, 4, _to_latin(one.caption))
        lowest = max(lowest, pdf.get_y() + 3)
    pdf.set_y(lowest)


def _put_line(pdf: FPDF, text: str, size: int = 9) -> None:
    pdf.set_font("helvetica", style="B" if size > 9 else "", size=size)
    pdf.multi_cell(0, size * 0.55, _to_latin(text), new_x="LMARGIN", new_y="NEXT")


def _put_table(pdf: FPDF, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        _put_line(pdf, "None.")
        return
    pdf.set_font("helvetica", size=8)
    with pdf.table(text_align="LEFT", line_height=4.5) as table:
        for cells in (head, *rows):
            row = table.row()
            for cell in cells:
                row.cell(_to_latin(cell))


def _to_cell(text: str) -> str:
    return shorten(" ".join(text.split()), _MAX_CELL_CHARS)


def _list_names(hrefs: Sequence[str]) -> str:
    names = [shorten(shorten_href(href), _MAX_NAME_CHARS) for href in hrefs]
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return " ".join(names[:_MAX_NAMES]) + more


def _to_latin(text: str) -> str:
    return text.replace("…", "...").encode("latin-1", "replace").decode("latin-1")


def _sizes(before_m2: float, after_m2: float) -> tuple[str, str, str]:
    return format_hectares(before_m2), format_hectares(after_m2), format_difference(after_m2 - before_m2)
