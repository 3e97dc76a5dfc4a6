"""The situation over a watch's ground: pictures before and after, changes, coverage and gaps, as HTML and PDF."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jinja2
from fpdf import FPDF
from sqlalchemy import Engine, RowMapping

from segwatch.db import analyst, watches
from segwatch.db.errors import NotFound, words
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.config.sizes import describe_limits
from segwatch.flows.errors import ConfigError
from segwatch.flows.inference import quicklooks
from segwatch.geo.area import geodesic_m2
from segwatch.geo.printable import clean
from segwatch.geo.storable import shortened

_log = logging.getLogger(__name__)
_LARGEST = 20
#: On paper a row must fit on a page.
_LONGEST_CELL = 300
_MOST_NAMES = 5
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of what the model saw."""

    title: str
    acquired_at: datetime
    content: bytes
    """JPEG."""


@dataclass(frozen=True, slots=True)
class Total:
    """Ground that a target covers in all, geodesic m²."""

    target: str
    before_m2: float
    """At the first scene."""
    after_m2: float
    """At the last."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known about a watch's ground."""

    watch: str
    instruction: str
    targets: tuple[str, ...]
    model: str | None
    attribution: str
    area_km2: float
    since: datetime
    until: datetime | None
    written_at: datetime
    pictures: tuple[Picture, ...]
    without_pictures: str
    """What to say where there is none."""
    first: datetime | None
    """When the first scene that was answered was acquired, and the last."""
    last: datetime | None
    totals: tuple[Total, ...]
    changes: Sequence[RowMapping]
    largest: Sequence[RowMapping]
    scenes: Sequence[RowMapping]
    observed_share: float
    gap_km2: float
    limits: str
    """What is too small to be reported."""

    @property
    def largest_share(self) -> str:
        """How many of the changes are listed as the largest."""
        return f"{len(self.largest)} of {sum(row['objects'] for row in self.changes)} changes"


def gather(engine: Engine, settings: FlowSettings, name: str) -> Situation:
    """The situation now. The picture from before is that of the first scene, the other that of the last.

    Raises
    ------
    ConfigError
        No such watch.
    """
    with engine.connect() as conn:
        try:
            stored = watches.current(conn, name)
        except NotFound as error:
            raise ConfigError(
                f"watch {name!r} is not in the ledger; run `segwatch apply FILE` first"
            ) from error
        watch = stored.watch
        scenes = analyst.list_reported_scenes(conn, name)
        changes = analyst.sum_changes(conn, name)
        largest = analyst.list_largest_changes(conn, name, _LARGEST)
        observed_m2 = analyst.measure_observed_m2(conn, stored.revision_id, watch.start)
        answered = [row for row in scenes if row["state"] == "observed"]
        times = [row["acquired_at"] for row in answered]
        areas = analyst.compare_areas(conn, name, times[0], times[-1]) if times else {}
    whole = geodesic_m2(watch.area)
    share = min(1.0, observed_m2 / whole)
    pictures = tuple(_pictures(settings, answered))
    return Situation(
        watch=name,
        instruction=watch.instruction.text,
        targets=watch.instruction.targets,
        model=answered[-1]["model"] if answered else None,
        attribution=" ".join(filter(None, (watch.profile.attribution, watch.profile.license))),
        area_km2=whole / 1e6,
        since=watch.start,
        until=watch.end,
        written_at=datetime.now(UTC),
        pictures=pictures,
        without_pictures=_why_without(settings, answered),
        first=times[0] if times else None,
        last=times[-1] if times else None,
        totals=tuple(Total(target, *sizes) for target, sizes in areas.items()),
        changes=changes,
        largest=largest,
        scenes=scenes,
        observed_share=share,
        gap_km2=(1 - share) * whole / 1e6,
        limits=describe_limits(watch),
    )


def _pictures(settings: FlowSettings, answered: Sequence[RowMapping]) -> list[Picture]:
    shown = [row for row in answered if row["preview"] is not None]
    chosen = (
        [("before", shown[0]), ("after", shown[-1])] if len(shown) > 1 else [("seen", row) for row in shown]
    )
    found = ((title, row, quicklooks.read(settings, row["preview"])) for title, row in chosen)
    return [
        Picture(title, row["acquired_at"], content) for title, row, content in found if content is not None
    ]


def _why_without(settings: FlowSettings, answered: Sequence[RowMapping]) -> str:
    if not answered:
        return "No scene was answered yet."
    if all(row["preview"] is None for row in answered):
        return "No picture was kept of what was seen."
    where = quicklooks.place(settings)
    if where is None:
        return (
            "Pictures were kept; set SEGWATCH_EVIDENCE as the workers have it, and write this report again."
        )
    return f"Pictures were kept; none could be read below {where}."


def as_html(situation: Situation) -> str:
    """One file that needs no other; every word from outside is escaped."""
    return _ENVIRONMENT.get_template("situation.html.j2").render(s=situation)


def as_pdf(situation: Situation) -> bytes:
    """The same on paper, long reasons and lists of items cut short; letters beyond Latin-1 become question marks."""
    pdf = FPDF(format="A4")
    pdf.set_title(_latin(f"{situation.watch}: situation"))
    pdf.set_auto_page_break(auto=True, margin=15)
    pdf.add_page()
    _line(pdf, situation.watch, size=18)
    until = _day(situation.until) if situation.until else "open end"
    _line(pdf, f"{situation.instruction}. {situation.area_km2:.1f} km2, {_day(situation.since)} to {until}.")
    _line(pdf, f"Written {_moment(situation.written_at)}; model {situation.model or 'none yet'}.")
    _line(pdf, f"{situation.limits}.".replace("m²", "m2"))
    _put_pictures(pdf, situation)
    _line(pdf, "In all", size=13)
    totals = [(_cell(one.target), *_sizes(one.before_m2, one.after_m2)) for one in situation.totals]
    days = (_day(one) if one else "-" for one in (situation.first, situation.last))
    _table(pdf, ("target", *(f"ha {day}" for day in days), "difference"), totals)
    _line(pdf, "Changes", size=13)
    rows = [
        (_cell(row["target"]), row["kind"], str(row["objects"]), *_sizes(row["before_m2"], row["after_m2"]))
        for row in situation.changes
    ]
    _table(pdf, ("target", "change", "objects", "ha before", "ha after", "difference"), rows)
    _line(pdf, f"Largest: {situation.largest_share}", size=13)
    largest = [
        (_moment(row["valid_at"]), _cell(row["target"]), row["kind"], *_sizes(row["before_m2"], row["after_m2"]),
         f"{row['lon']:.5f}, {row['lat']:.5f}")
        for row in situation.largest
    ]  # fmt: skip
    _table(pdf, ("seen", "target", "change", "ha before", "ha after", "difference", "lon, lat"), largest)
    _line(pdf, "Coverage", size=13)
    _line(
        pdf,
        f"{situation.observed_share:.0%} of the area was observed at least once since {_day(situation.since)}; "
        f"{situation.gap_km2:.1f} km2 never.",
    )
    scenes = [
        (_moment(row["acquired_at"]), row["state"], "" if row["clear_share"] is None else f"{row['clear_share']:.0%}",
         _cell(row["reason"] or ""), _first_names(row["item_hrefs"]))
        for row in situation.scenes
    ]  # fmt: skip
    _table(pdf, ("acquired", "outcome", "clear", "reason", "sources"), scenes)
    _line(pdf, situation.attribution)
    return bytes(pdf.output())


def as_markdown(situation: Situation, where: str) -> str:
    """A summary for the run that wrote it; ``where`` as :func:`publish` says."""
    lines = [f"# {_plain(situation.watch)}", "", f"{situation.observed_share:.0%} of the area observed.", ""]
    lines += [f"{situation.limits}.", ""]
    lines += [
        f"{_plain(one.target)}: {one.before_m2 / 1e4:.2f} ha at first, {one.after_m2 / 1e4:.2f} ha at last.\n"
        for one in situation.totals
    ]
    lines += ["| target | change | objects | hectares before | after |", "| --- | --- | --- | --- | --- |"]
    for row in situation.changes:
        sizes = f"{row['before_m2'] / 1e4:.2f} | {row['after_m2'] / 1e4:.2f}"
        lines.append(f"| {_plain(row['target'])} | {row['kind']} | {row['objects']} | {sizes} |")
    states = [row["state"] for row in situation.scenes]
    lines += [
        "",
        ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no scene yet",
    ]
    return "\n".join([*lines, "", f"Report: {clean(where)}"])


def publish(engine: Engine, settings: FlowSettings, name: str) -> tuple[Situation, str]:
    """Write the report beside the watch's pictures; the situation, and where the HTML file is, or why it is nowhere."""
    situation = gather(engine, settings, name)
    where = quicklooks.put(settings, f"{name}/situation.html", as_html(situation).encode())
    try:
        quicklooks.put(settings, f"{name}/situation.pdf", as_pdf(situation))
    except Exception as error:
        # paper is the second way to read it; a run does not fail for want of it
        _log.warning("%s/situation.pdf could not be made: %s", name, words(error))
    if where is None:
        why = (
            quicklooks.HOMELESS
            if quicklooks.place(settings) is None
            else "it could not be stored, see the log"
        )
        where = f"not kept: {why}"
    return situation, where


def _put_pictures(pdf: FPDF, situation: Situation) -> None:
    pictures = situation.pictures
    if not pictures:
        _line(pdf, situation.without_pictures)
        return
    width = pdf.epw / 2 - 2
    top, lowest = pdf.get_y() + 2, 0.0
    for index, one in enumerate(pictures):
        left = pdf.l_margin + index * (width + 4)
        placed = pdf.image(io.BytesIO(one.content), x=left, y=top, w=width)
        bottom = top + placed.rendered_height
        pdf.set_font("helvetica", size=8)
        pdf.text(left, bottom + 4, _latin(f"{one.title}: {_moment(one.acquired_at)}"))
        lowest = max(lowest, bottom + 8)
    pdf.set_y(lowest)


def _line(pdf: FPDF, words: str, size: int = 9) -> None:
    pdf.set_font("helvetica", style="B" if size > 9 else "", size=size)
    pdf.multi_cell(0, size * 0.55, _latin(words), new_x="LMARGIN", new_y="NEXT")


def _table(pdf: FPDF, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        _line(pdf, "None.")
        return
    pdf.set_font("helvetica", size=8)
    with pdf.table(text_align="LEFT", line_height=4.5) as table:
        for cells in (head, *rows):
            row = table.row()
            for cell in cells:
                row.cell(_latin(cell))


def _cell(words: str) -> str:
    return shortened(" ".join(words.split()), _LONGEST_CELL)


def _first_names(hrefs: Sequence[str]) -> str:
    names = [shortened(_name(href), _LONGEST_NAME) for href in hrefs]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return " ".join(names[:_MOST_NAMES]) + more


def _latin(words: str) -> str:
    return words.replace("…", "...").encode("latin-1", "replace").decode("latin-1")


def _plain(words: str) -> str:
    """Words that mean nothing in Markdown."""
    return "".join(letter if letter.isalnum() or letter in " .-_" else " " for letter in words)


def _sizes(before: float, after: float) -> tuple[str, str, str]:
    return f"{before / 1e4:.2f}", f"{after / 1e4:.2f}", f"{(after - before) / 1e4:+.2f}"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


def _moment(at: datetime | None) -> str:
    return "unknown" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _name(href: str) -> str:
    return href.rstrip("/").rpartition("/")[2]


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("segwatch.flows.report"), autoescape=True, undefined=jinja2.StrictUndefined
)
_FILTERS: dict[str, Any] = {
    "day": _day,
    "moment": _moment,
    "name": _name,
    "hectares": lambda m2: f"{m2 / 1e4:.2f}",
    "signed_hectares": lambda m2: f"{m2 / 1e4:+.2f}",
    "base64": lambda content: base64.b64encode(content).decode(),
    "is_web": lambda href: href.startswith(("http://", "https://")),
}
_ENVIRONMENT.filters |= _FILTERS
