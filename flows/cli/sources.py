"""``segwatch source``: registered local files, profiles of imagery collections, and checks of catalogs."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from segwatch.flows.cli import completing
from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    confirm_deletion,
    is_for_people,
    out,
    print_json,
    print_table,
    say,
    warn,
)

if TYPE_CHECKING:
    from segwatch.flows.config.settings import FlowSettings
    from segwatch.geo.sources.local.adding import AddedFile, AddingOptions, AddReport
    from segwatch.geo.sources.local.registry import LocalSource
    from segwatch.geo.sources.search.profile_check import SourceFinding

#: Findings about what a catalog does not offer; all others are about files that do not fit the profile.
_ABOUT_THE_CATALOG = {"search", "items", "paging", "assets", "profile"}
#: Files in a table on the screen; --json has all.
_MAX_ROWS = 40
_REPORT_EVERY = 25

app = typer.Typer(no_args_is_help=True, help="Register local files; list, show and check sources of imagery.")


@app.command()
def add(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Folders, searched with all folders in them, or single files."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name of the source. Default: that of the first path."),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(
            "--date",
            metavar="PATTERN",
            help="Date in the names of the files, such as %d%m%Y, or one date for all of them.",
        ),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            "--bands",
            metavar="R,G,B",
            help="Numbers of the red, green and blue band; NIR, SWIR1 and SWIR2 may follow.",
        ),
    ] = None,
    gsd_m: Annotated[
        float | None,
        typer.Option("--gsd", metavar="METRES", min=0.001, help="Pixel size at which the files are read."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="VALUES",
            help="Values of files NAME_mask.tif that hide pixels of NAME.tif, such as 0; none: leave such files out.",
        ),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            "--watch",
            metavar="INSTRUCTION",
            help="Also write and apply a watch over all files, such as 'segment the water'.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Register folders or files of your own as a source of imagery.

    Reads GeoTIFF and JPEG 2000, infers bands, dates, pixel size and stretch, shows what it inferred, and writes a STAC
    catalog and a profile into the home folder. The files stay where they are, nothing is served, and only files of
    registered folders are ever read. Add it again at any time: new files are picked up, changed ones become new
    versions, and nothing is duplicated. A file that cannot be used is named with the reason.

    With --watch, then run: segwatch run NAME
    """
    from segwatch.flows.config import local_watch
    from segwatch.flows.config.settings import load_settings
    from segwatch.geo.sources.local import adding

    with clear_errors():
        settings = load_settings()
        chosen = _choose_name(name, paths)
        report = adding.add(chosen, paths, _make_options(date, bands, gsd_m, mask))
        watch = None
        if instruction is not None:
            watch = local_watch.write_watch(report.source, report.profile, instruction)
        elif (report.source.folder / local_watch.WATCH_FILE).exists() and local_watch.update_area(
            report.source
        ):
            say(f"its area grew; run: segwatch apply {report.source.folder / local_watch.WATCH_FILE}")
    if as_json:
        print_json(_to_document(report, watch))
    else:
        _print_report(report)
    if watch is not None:
        _apply_watch(settings, watch, chosen)


def _make_options(
    date: str | None, bands: str | None, gsd_m: float | None, mask: str | None
) -> AddingOptions:
    from segwatch.flows.errors import ConfigError
    from segwatch.geo.sources.local.adding import AddingOptions
    from segwatch.geo.sources.local.bands import parse_bands
    from segwatch.geo.sources.local.products import parse_mask

    def ask(key: str) -> str | None:
        if not sys.stdin.isatty():
            return None
        return typer.prompt(f"{key}: date as 2024-05-01 (empty = leave it out)", default="", err=True) or None

    def report(done: int, total: int, key: str) -> None:
        if total > _REPORT_EVERY and done % _REPORT_EVERY == 0:
            say(f"{done} of {total} files: {key}")

    try:
        meaning = None if mask is None else parse_mask(mask)
    except ValueError as error:
        raise ConfigError(f"--mask {mask}: give whole numbers such as 0 or 0,2, or none") from error
    return AddingOptions(date, None if bands is None else parse_bands(bands), gsd_m, meaning, ask, report)


def _choose_name(given: str | None, paths: Sequence[Path]) -> str:
    from segwatch.flows.errors import ConfigError
    from segwatch.geo.local_addresses import NAME, NAME_RULE
    from segwatch.geo.sources import profiles
    from segwatch.geo.sources.local import registry

    path = paths[0].expanduser().resolve()
    stem = path.name if path.is_dir() else path.stem
    name = given or re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:63].rstrip("-")
    if not NAME.match(name):
        raise ConfigError(f"{name!r} cannot be the name of a source ({NAME_RULE}); give --name")
    if name in profiles.list_names():
        raise ConfigError(f"{name!r} is the name of a profile; give another --name")
    if given is None and name in registry.list_names():
        roots = registry.find(name).roots
        if not any(path == one.path or path.is_relative_to(one.path) for one in roots):
            known = ", ".join(str(one.path) for one in roots)
            raise ConfigError(
                f"source {name} has {known}; give --name {name} to add {path} to it, or another --name"
            )
    return name


def _apply_watch(settings: FlowSettings, watch: Path, name: str) -> None:
    """Apply a watch file; the database of the home folder is started if nothing else is configured."""
    from segwatch.db.embedded.cluster import Cluster
    from segwatch.flows.cli import applying
    from segwatch.flows.services.stack import Stack

    with clear_errors():
        if settings.database_url is None and not Cluster(settings.home).status().running:
            Stack(settings.home, say=say).up_database()
    say(f"watch file: {watch}")
    applying.apply(watch, yes=True)
    say(f"now run: segwatch run {name}")


def _print_report(report: AddReport) -> None:
    from segwatch.geo.sources.local.pictures import MAX_PICTURES

    shown = [one for one in report.files if one.facts is not None]
    if shown:
        rows = [_to_row(one) for one in shown[:_MAX_ROWS]]
        print_table(("file", "date", "found in", "pixels", "size", "bands", "type", "remarks"), rows)
    if len(shown) > _MAX_ROWS:
        out.print(f"and {len(shown) - _MAX_ROWS} more files; --json lists all")
    states = ("new", "changed", "unchanged", "missing")
    counts = ", ".join(f"{report.count(state)} {state}" for state in states if report.count(state))
    out.print(f"source {report.source.name}: {counts}, {len(report.refused)} not used", markup=False)
    profile = report.profile
    out.print(
        f"  read at {profile.gsd_m:g} m; values {profile.low:g} to {profile.high:g} become black to white",
        markup=False,
    )
    out.print(f"  profile: {report.source.profile_path}", markup=False)
    if report.preview is not None:
        drawn = "the files above" if len(shown) <= MAX_PICTURES else f"the first {MAX_PICTURES} files above"
        out.print(f"  preview: {report.preview} ({drawn}, row by row)", markup=False)
    for key, reason in report.refused:
        warn(f"{key} is not used: {reason}")
    if report.count("missing"):
        warn(f"{report.count('missing')} file(s) are not there any more; what was observed in them stays")


def _to_row(one: AddedFile) -> tuple[str, ...]:
    facts, acquired = one.facts, one.acquired
    if facts is None or acquired is None:
        return (one.key, *("" for _ in range(7)))
    remarks = [*facts.traits, *([f"converted: {one.converted}"] if one.converted else [])]
    if not facts.has_overviews and max(facts.width, facts.height) > 8192:
        remarks.append("no overviews")
    size = f"{facts.gsd_m:.3g} m"
    return (
        one.key,
        acquired.text,
        acquired.how,
        f"{facts.width}x{facts.height}",
        size,
        facts.bands_text,
        facts.dtype,
        ", ".join(remarks),
    )


def _to_document(report: AddReport, watch: Path | None) -> dict[str, Any]:
    return {
        "source": report.source.name,
        "files": [_describe_file(one) for one in report.files],
        "refused": [{"file": key, "reason": reason} for key, reason in report.refused],
        "profile": asdict(report.profile),
        "profile_file": str(report.source.profile_path),
        "catalog": str(report.source.folder / "collection.json"),
        "preview": str(report.preview) if report.preview is not None else None,
        "watch_file": str(watch) if watch is not None else None,
    }


def _describe_file(one: AddedFile) -> dict[str, Any]:
    described: dict[str, Any] = {"file": one.key, "item": one.item_id, "state": one.state}
    if one.facts is not None and one.acquired is not None:
        facts = one.facts
        described |= {
            "acquired": one.acquired.middle,
            "date_found_in": one.acquired.how,
            "width": facts.width,
            "height": facts.height,
            "gsd_m": facts.gsd_m,
            "dtype": facts.dtype,
            "bands": facts.bands_text,
            "bands_found_in": facts.bands.how,
            "traits": facts.traits,
            "converted": one.converted or None,
        }
    return described


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the registered sources of local files, and the profiles that come with segwatch.

    Watch files name a source (`local`), a profile, or the path of a .toml file with a profile of your own.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.geo.sources import profiles
    from segwatch.geo.sources.local import registry

    with clear_errors():
        load_settings()
        local = [registry.find(name) for name in registry.list_names()]
        described = [_describe_source(one) for one in local]
        every = [profiles.load(name) for name in profiles.list_names()]
    if as_json:
        print_json([*described, *(asdict(one) for one in every)])
        return
    if described:
        found = [(one["name"], one["gsd_m"], one["files"], ", ".join(one["folders"])) for one in described]
        print_table(("local source", "gsd m", "files", "folders"), found)
    cells = [
        (one.name, one.gsd_m, one.access.method if one.access is not None else "open", one.title)
        for one in every
    ]
    print_table(("profile", "gsd m", "access", "title"), cells)


def _describe_source(source: LocalSource) -> dict[str, Any]:
    from segwatch.geo.sources import profiles

    return {
        **asdict(profiles.load(str(source.profile_path))),
        "catalog": source.url,
        "local": True,
        "files": len(source.read_items()),
        "folders": [str(one.path) for one in source.roots],
        "profile_file": str(source.profile_path),
        "preview": str(source.preview_path),
    }


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A local source, the name of a profile, or the path of a .toml file.",
            autocompletion=completing.complete_profiles,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show a registered source with its files, or every field of a profile."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.geo.sources import profiles
    from segwatch.geo.sources.local import registry

    with clear_errors():
        load_settings()
        if name in registry.list_names():
            source = registry.find(name)
            fields, files = _describe_source(source), _list_files(source)
        else:
            fields, files = asdict(profiles.load(name)), []
    if as_json:
        print_json(fields | {"items": files} if files else fields)
        return
    for key, value in fields.items():
        out.print(f"{key}: {_to_text(value)}", markup=False)
    if files:
        print_table(("item", "file", "acquired", "read"), [tuple(map(str, one.values())) for one in files])


def _to_text(value: Any) -> str:
    """Write the value of a field for people: bands as ``4 of image``, parts of a list with commas."""
    if isinstance(value, dict):
        rest = {key: one for key, one in value.items() if one not in (None, (), {}, "")}
        if {"asset", "index"} <= rest.keys():
            band = f"{rest.pop('index')} of {rest.pop('asset')}"
            return ", ".join((band, *(f"{key} {_to_text(one)}" for key, one in rest.items())))
        return " ".join(_to_text(one) for one in rest.values())
    if isinstance(value, list | tuple):
        return ", ".join(map(_to_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _list_files(source: LocalSource) -> list[dict[str, Any]]:
    from segwatch.geo.sources.local.stac import FILE

    found = []
    for item_id, item in sorted(source.read_items().items()):
        properties = item["properties"]
        found.append(
            {
                "item": item_id,
                "file": properties[FILE],
                "acquired": properties.get("datetime") or properties.get("start_datetime"),
                "read": "converted" if "original" in item["assets"] else "as it is",
            }
        )
    return found


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a registered source.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove the registration of local files, with its catalog, profile, watch file and converted files.

    The files themselves stay, and so does what was observed in them; watches on the source can read no more.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.geo.sources.local import registry

    with clear_errors():
        load_settings()
        source = registry.find(name)
    confirm_deletion(f"Remove source {name} ({source.folder})? Its files stay.", yes=yes, how="--yes")
    with clear_errors():
        registry.remove(name)
    out.print(f"source {name} is removed; its files are where they were", markup=False)


@app.command()
def check(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A local source, a profile, or the address of a STAC catalog.",
            autocompletion=completing.complete_profiles,
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="PROFILE", help="With an address: the profile that must fit the catalog."
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection", metavar="ID", help="Collection in place of the profile's, as in a watch file."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check what a catalog supports and read a sample of its imagery.

    Exit status 1 if a watch on this source would miss something.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.geo.sources import profiles
    from segwatch.geo.sources.local import registry
    from segwatch.geo.sources.search.inspection import inspect

    with clear_errors():
        settings = load_settings()
        is_address = source.startswith(("http://", "https://"))
        local = registry.find(source) if source in registry.list_names() else None
        name = profile if is_address else str(local.profile_path) if local is not None else source
        loaded = profiles.load(name) if name is not None else None
        if collection is not None:
            if loaded is None:
                raise ConfigError("--collection needs a profile; give --profile, too")
            loaded = replace(loaded, collection=collection)
        url = source if is_address else loaded.catalog if loaded is not None else None
        url = local.url if local is not None else url
        if url is None:
            raise ConfigError(f"profile {source} names no catalog; give its address and --profile {source}")
        credentials = settings.credentials_for(loaded.name if loaded is not None else "")
        findings = list(inspect(url, loaded, credentials=credentials, imagery_hosts=settings.imagery_hosts))
    if as_json:
        print_json([asdict(one) for one in findings])
    else:
        _print_findings(findings)
    if not all(one.good for one in findings):
        raise typer.Exit(1)


def _print_findings(findings: list[SourceFinding]) -> None:
    marked = [
        ("ok" if one.good else "missing" if one.about in _ABOUT_THE_CATALOG else "wrong", one)
        for one in findings
    ]
    if not is_for_people():
        print_table(("result", "about", "says"), [(mark, one.about, one.says) for mark, one in marked])
        return
    for mark, one in marked:
        shown = mark if one.good else f"[red]{mark}[/red]"
        out.print(f"{shown:8} {one.about}: {escape(one.says)}")
