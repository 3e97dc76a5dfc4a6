"""A briefing as a summary in Markdown, for the artifact of a Prefect run."""

from __future__ import annotations

from segwatch.flows.report.formats import format_hectares
from segwatch.flows.report.html import Rendered
from segwatch.geo.text.printable import sanitize
from segwatch.geo.text.shares import format_share_percent

#: Characters of estimates with their intervals, which have no meaning in Markdown outside of links.
_FIGURES = "(),:;%'\u00a0\u202f–²°"


def render_markdown(rendered: Rendered, where: str) -> str:
    """Render the summary.

    Parameters
    ----------
    rendered
        What to summarize.
    where
        Location of the full report, as :func:`segwatch.flows.report.publish.publish` returns it.
    """
    situation, page = rendered.briefing.situation, rendered.page
    lines = [f"# {_plain(page.title, _FIGURES)}", "", _plain(page.known, _FIGURES), ""]
    lines += [f"**{_plain(page.banner, _FIGURES)}**", ""] if page.banner else []
    observed = format_share_percent(situation.observed_share)
    lines += [f"Watch {_plain(situation.watch)}: {observed} of the area observed.", ""]
    lines += [f"{situation.limits}.", ""]
    lines += [
        f"{_plain(one.target)}: {format_hectares(one.before_m2)} ha at first, "
        f"{format_hectares(one.after_m2)} ha at last; {_plain(one.accuracy, _FIGURES)}.\n"
        for one in situation.totals
    ]
    lines += [
        "| target | change | objects | confirmed | hectares before | after |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {_plain(row['target'])} | {row['kind']} | {row['objects']} | {row['confirmed']} "
        f"| {format_hectares(row['before_m2'])} | {format_hectares(row['after_m2'])} |"
        for row in situation.changes.to_dict("records")
    ]
    lines += [
        f"| {_plain(target)} | refuted | {count} | - | - | - |" for target, count in situation.refuted.items()
    ]
    states = situation.scenes["state"].value_counts(sort=False)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return "\n".join([*lines, "", counts or "no scene yet", "", f"Report: {sanitize(where)}"])


def _plain(text: str, also: str = "") -> str:
    """Replace the characters that have a meaning in Markdown."""
    return "".join(letter if letter.isalnum() or letter in f" .-_{also}" else " " for letter in text)
