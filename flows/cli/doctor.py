"""``segwatch doctor``: check that everything that should run by itself does run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from segwatch.flows.cli.console import Json, clear_errors, is_for_people, out, print_json, print_table

if TYPE_CHECKING:
    from segwatch.flows.config.settings import FlowSettings
    from segwatch.flows.doctor.checks import Finding

_MARKS = {"ok": "ok", "note": "[yellow]note[/yellow]", "wrong": "[red]wrong[/red]"}


def doctor(as_json: Json = False) -> None:
    """Check that schedules fire, workers poll, messages are sent and catalogs answer.

    Each problem comes with its fix. Exit status 1 if anything is wrong.
    """
    from segwatch.flows.config.settings import load_settings

    with clear_errors():
        findings = examine(load_settings())
    wrong = select_wrong(findings)
    if as_json:
        print_json({"wrong": len(wrong), "findings": [asdict(one) for one in findings]})
    elif is_for_people():
        for one in findings:
            _print(out, one)
    else:
        print_findings(findings)
    if wrong:
        raise typer.Exit(1)


def examine(settings: FlowSettings) -> list[Finding]:
    """Check the ledger and the Prefect server that the settings name."""
    from segwatch.flows.doctor.checks import check
    from segwatch.flows.doctor.gathering import gather

    return check(gather(settings))


def print_short(console: Console, findings: list[Finding]) -> None:
    """Print what is wrong, or one line if nothing is, and the watches that are paused."""
    for one in select_short(findings):
        _print(console, one)
    if not select_wrong(findings):
        areas = dict.fromkeys(one.about for one in findings if one.level == "ok")
        console.print(f"ok: {', '.join(areas)}   (details: segwatch doctor)")


def print_findings(findings: list[Finding], *, further: bool = False) -> None:
    """Print findings as tab-separated values; ``further``: after another table."""
    cells = [(one.level, one.about, one.says, one.fix) for one in findings]
    print_table(("level", "about", "says", "fix"), cells, further=further)


def select_short(findings: list[Finding]) -> list[Finding]:
    """Select what is wrong, and then the watches that are paused."""
    from segwatch.flows.doctor.checks import ABOUT_WATCHES

    return [*select_wrong(findings), *(one for one in findings if one.about == ABOUT_WATCHES)]


def select_wrong(findings: list[Finding]) -> list[Finding]:
    """Select the findings that are wrong."""
    return [one for one in findings if one.level == "wrong"]


def _print(console: Console, one: Finding) -> None:
    console.print(f"{_MARKS[one.level]} {one.about}: {escape(one.says)}")
    if one.fix:
        console.print(f"      {one.fix}", markup=False)
