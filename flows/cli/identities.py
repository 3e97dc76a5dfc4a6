"""``segwatch show``: what an id stands for."""

from __future__ import annotations

from typing import Annotated

import typer

from segwatch.flows.cli.console import Json, clear_errors, open_engine, print_fields


def show(
    identity: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="An id, or its first digits: at least four, and only one id begins so."
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", metavar="KIND", help="object, change, alert, scene, observation, event, run or token."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what an id stands for: an object, change, alert, scene, observation, event, run or token.

    Ids may be given by their first digits wherever a command takes one.
    """
    from segwatch.db import identities
    from segwatch.flows.errors import ConfigError
    from segwatch.geo.text.spelling import find_nearest

    with clear_errors():
        known = [one.value for one in identities.Kind]
        if kind is not None and kind not in known:
            near = find_nearest(kind, known)
            hint = f"did you mean {near}? " if near else ""
            raise ConfigError(f"--kind: {kind!r} is unknown; {hint}use one of {', '.join(known)}")
        kinds = tuple(identities.Kind) if kind is None else (identities.Kind(kind),)
        with open_engine() as engine, engine.connect() as conn:
            found = identities.resolve(conn, identity, kinds)
            fields = {"type": found.kind.value} | identities.read(conn, found)
        print_fields(fields, as_json=as_json)
