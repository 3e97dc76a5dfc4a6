"""``segwatch token``: who may read the map over HTTP, and do more."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from segwatch.flows.cli.console import Json, clear_errors, out, print_json, print_table, say, utc

if TYPE_CHECKING:
    from segwatch.db.tokens import Scope

app = typer.Typer(no_args_is_help=True, help="Tokens of those who read, review or send events over HTTP.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="whose token it is, or what for")],
    watch: Annotated[
        list[str] | None, typer.Option("--watch", help="a watch that it may see; repeatable")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all-watches", help="it sees every watch, those that come later too")
    ] = False,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="read, review or events; repeatable; default: read")
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option("--expires", help="until when it holds (UTC); default: until it is revoked"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it, once: of its secret a digest is kept alone."""
    from segwatch.db import tokens
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.runtime import assemble

    with clear_errors():
        if every == bool(watch):
            raise ConfigError("say what the token may see: --watch NAME (repeatable), or --all-watches")
        scopes = _scopes(scope or ["read"])
        with assemble.worker_engine(load_settings()) as engine, engine.begin() as conn:
            made = tokens.create(
                conn, name, watch_names=None if every else watch, scopes=scopes, expires_at=utc(expires)
            )
    if as_json:
        typer.echo(f'{{"name": "{name}", "token": "{made.secret}"}}')
        return
    say("keep it now, it is shown once; readers send it as Authorization: Bearer, or on the page /login")
    typer.echo(made.secret)


def _scopes(given: list[str]) -> list[Scope]:
    from segwatch.db.tokens import Scope
    from segwatch.flows.errors import ConfigError

    known = [one.value for one in Scope]
    for one in given:
        if one not in known:
            raise ConfigError(f"--scope: {one!r} is unknown; there are {', '.join(known)}")
    scopes = {Scope(one) for one in given}
    # who reviews looks at what there is to review
    return sorted(scopes | {Scope.READ} if Scope.REVIEW in scopes else scopes)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Every token that was not revoked; of secrets nothing."""
    from segwatch.db import tokens
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine, engine.connect() as conn:
        rows = tokens.listed(conn)
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["name"],
            ", ".join(row["scopes"]),
            "all" if row["watches"] is None else ", ".join(row["watches"]),
            _minute(row["created_at"]),
            "when revoked" if row["expires_at"] is None else _minute(row["expires_at"]),
        )
        for row in rows
    ]
    print_table(("name", "scopes", "watches", "created", "ends"), cells)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="name of the token")]) -> None:
    """End a token at once."""
    from segwatch.db import tokens
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine, engine.begin() as conn:
        tokens.revoke(conn, name)
    out.print(f"{name}: revoked", markup=False)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
