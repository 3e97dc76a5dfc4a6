"""``segwatch report``: the briefing of a watch."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segwatch.flows.cli.console import Json, WatchName, clear_errors, out, print_json, say
from segwatch.flows.cli.parsing import TIME_FORMS, parse_last_moment, parse_moment
from segwatch.flows.runtime.progress import step

if TYPE_CHECKING:
    from segwatch.flows.report.exposure import Layers


class Lang(StrEnum):
    """What ``--lang`` takes."""

    EN = "en"
    DE = "de"
    FR = "fr"
    ES = "es"


class Format(StrEnum):
    """What ``--format`` takes."""

    HTML = "html"
    PDF = "pdf"
    PNG = "png"
    GPKG = "gpkg"


#: A briefing takes seconds to minutes.
_SAY_EVERY_SECONDS = 10.0
#: Characters of a title, as many as the page shows.
_MAX_TITLE = 160


def report(
    watch: WatchName,
    folder: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder for briefing.html, briefing.pdf and so on.")
    ] = Path("."),
    forms: Annotated[
        list[Format] | None,
        typer.Option(
            "--format", "-f",
            help="html, pdf, png (the first page) or gpkg; may be given several times. Default: html and pdf.",
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", metavar="TIME", parser=parse_moment,
            help=f"The time to compare with: {TIME_FORMS}, UTC. Default: when the event or the watch began.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            "--to", metavar="TIME", parser=parse_last_moment,
            help=f"The time to report on: {TIME_FORMS}, UTC; a date means its whole day. Default: now.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title. Default: event, place and time.")] = "",
    lang: Annotated[
        Lang | None, typer.Option(help="Language. Default: SEGWATCH_REPORT_LANGUAGE.")
    ] = None,
    population: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False,
            help="Raster of people per pixel, such as WorldPop. Default: SEGWATCH_REPORT_POPULATION.",
        ),
    ] = None,
    buildings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True,
            help="Vector file of buildings, in any format that GDAL reads. Default: SEGWATCH_REPORT_BUILDINGS.",
        ),
    ] = None,
    roads: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True,
            help="Vector file of roads, in any format that GDAL reads. Default: SEGWATCH_REPORT_ROADS.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write the briefing: one page to hand on, with maps before and after, then annexes."""
    from segwatch.flows.report.exposure import Layers

    with clear_errors():
        wanted = [one.value for one in dict.fromkeys(forms or (Format.HTML, Format.PDF))]
        given = Layers(population, buildings, roads)
        written = _write(watch, (since, until), title, lang.value if lang else "", given, wanted, folder)
    if as_json:
        print_json(written)
        return
    for line in (written["title"], written["known"], ", ".join(written["files"])):
        out.print(line, markup=False)


def _write(
    watch: str,
    period: tuple[datetime | None, datetime | None],
    title: str,
    lang: str,
    given: Layers,
    forms: list[str],
    folder: Path,
) -> dict[str, Any]:
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.report.briefing import Request, gather_briefing
    from segwatch.flows.report.exposure import Layers
    from segwatch.flows.report.html import render
    from segwatch.flows.report.publish import ReportFormat, list_layers, write
    from segwatch.flows.runtime import assemble
    from segwatch.flows.runtime.extras import require_extras

    if ReportFormat.GPKG in forms:
        require_extras("segwatch report --format gpkg", "analysis")
    if len(title) > _MAX_TITLE:
        raise ConfigError(f"--title has {len(title)} characters; write at most {_MAX_TITLE}")
    settings = load_settings()
    own = list_layers(settings)
    layers = Layers(
        given.population or own.population, given.buildings or own.buildings, given.roads or own.roads
    )
    files = []
    with (
        assemble.open_worker_engine(settings) as engine,
        step(say, f"{watch}: gathering figures and pictures", every_seconds=_SAY_EVERY_SECONDS) as tell,
    ):
        found = gather_briefing(engine, settings, Request(watch, *period, title, layers))
        tell(f"{watch}: writing {', '.join(forms)}")
        rendered = render(found, lang or settings.report_language)
        folder.mkdir(parents=True, exist_ok=True)
        for form in forms:
            target = folder / f"briefing.{form}"
            target.write_bytes(write(engine, rendered, ReportFormat(form)))
            files.append(str(target))
    return {"watch": watch, "title": rendered.page.title, "known": rendered.page.known, "files": files}
