"""``segwatch token``: who may read over HTTP, review, and send events."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from segwatch.flows.cli import completing
from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    open_engine,
    out,
    print_json,
    print_table,
    say,
)
from segwatch.flows.cli.parsing import TIME_FORMS, parse_moment

if TYPE_CHECKING:
    from segwatch.db.tokens import Scope

app = typer.Typer(
    no_args_is_help=True, help="Manage the tokens with which people and programs use the web server."
)


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the person or program that gets the token.")
    ],
    watch: Annotated[
        list[str] | None,
        typer.Option("--watch", metavar="WATCH", help="Watch that the token may read; repeatable."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all-watches", help="Let the token read every watch, including future ones.")
    ] = False,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="read, acknowledge, review, events, announce or operate; repeatable. Default: read.",
        ),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            metavar="TIME",
            parser=parse_moment,
            help=f"When the token expires: {TIME_FORMS}, UTC. Default: when it is revoked.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a token and print it.

    The token is shown only once: the ledger keeps a digest of it.
    """
    from segwatch.db import tokens
    from segwatch.flows.errors import ConfigError

    with clear_errors():
        if every == bool(watch):
            raise ConfigError(
                "say which watches the token may read: --watch NAME (repeatable), or --all-watches"
            )
        scopes = _parse_scopes(scope or ["read"])
        with open_engine() as engine, engine.begin() as conn:
            made = tokens.create(
                conn, name, watch_names=None if every else watch, scopes=scopes, expires_at=expires
            )
    if as_json:
        # print_json would redact the token
        typer.echo(json.dumps({"name": name, "token": made.secret}))
        return
    say(
        "store it now, it is shown only once; send it as Authorization: Bearer TOKEN, or enter it on the page /login"
    )
    typer.echo(made.secret)


def _parse_scopes(given: list[str]) -> list[Scope]:
    from segwatch.db.tokens import Scope, complete_scopes
    from segwatch.flows.errors import ConfigError

    known = [one.value for one in Scope]
    for one in given:
        if one not in known:
            raise ConfigError(f"--scope: {one!r} is unknown; use one of {', '.join(known)}")
    return sorted(complete_scopes([Scope(one) for one in given]))


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all tokens that are not revoked, without their secrets."""
    from segwatch.db import tokens

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        rows = tokens.list_tokens(conn)
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["id"],
            row["name"],
            ", ".join(row["scopes"]),
            "all" if row["watches"] is None else ", ".join(row["watches"]),
            row["created_at"],
            *("never" if row[name] is None else row[name] for name in ("expires_at", "last_used_at")),
        )
        for row in rows
    ]
    print_table(("id", "name", "scopes", "watches", "created", "expires", "last used"), cells)


@app.command()
def revoke(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the token, or the first digits of its id.",
            autocompletion=completing.complete_tokens,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Revoke a token at once."""
    from segwatch.db import tokens
    from segwatch.db.errors import IdNotFound
    from segwatch.db.identities import Kind, resolve

    with clear_errors(), open_engine() as engine, engine.begin() as conn:
        known = [row["name"] for row in tokens.list_tokens(conn)]
        if name not in known:
            with suppress(IdNotFound):  # the name is reported as unknown
                name = resolve(conn, name, [Kind.TOKEN]).says
        tokens.revoke(conn, name)
    if as_json:
        print_json({"token": name, "revoked": True})
        return
    out.print(f"{name}: revoked", markup=False)
