"""``segwatch source``: profiles of imagery collections, and checks of the catalogs that offer them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from segwatch.flows.cli import completing
from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    is_for_people,
    out,
    print_fields,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from segwatch.geo.sources.search.profile_check import SourceFinding

#: Findings about what a catalog does not offer; all others are about files that do not fit the profile.
_ABOUT_THE_CATALOG = {"search", "items", "paging", "assets", "profile"}

app = typer.Typer(no_args_is_help=True, help="List, show and check sources of imagery.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the profiles that come with segwatch.

    Watch files name a profile, or the path of a .toml file with one of your own.
    """
    from segwatch.geo.sources import profiles

    with clear_errors():
        every = [profiles.load(name) for name in profiles.list_names()]
    if as_json:
        print_json([asdict(one) for one in every])
        return
    cells = [
        (one.name, one.gsd_m, one.access.method if one.access is not None else "open", one.title)
        for one in every
    ]
    print_table(("profile", "gsd m", "access", "title"), cells)


@app.command()
def show(
    profile: Annotated[
        str,
        typer.Argument(
            metavar="PROFILE",
            help="Name of a profile, or path of a .toml file.",
            autocompletion=completing.complete_profiles,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show every field of a profile."""
    from segwatch.geo.sources import profiles

    with clear_errors():
        fields = asdict(profiles.load(profile))
    print_fields(fields, as_json=as_json)


@app.command()
def check(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A profile, or the address of a STAC catalog.",
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
    from segwatch.geo.sources.search.inspection import inspect

    with clear_errors():
        is_address = source.startswith(("http://", "https://"))
        name = profile if is_address else source
        loaded = profiles.load(name) if name is not None else None
        if collection is not None:
            if loaded is None:
                raise ConfigError("--collection needs a profile; give --profile, too")
            loaded = replace(loaded, collection=collection)
        url = source if is_address else loaded.catalog if loaded is not None else None
        if url is None:
            raise ConfigError(f"profile {source} names no catalog; give its address and --profile {source}")
        settings = load_settings()
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
