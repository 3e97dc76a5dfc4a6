"""Find the services of the home folder for the commands that use them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

#: Commands about the home's own services; they ignore what the environment names.
_ABOUT_THE_HOME = frozenset({"demo", "stop", "clean", "env"})


def find_services(context: typer.Context) -> None:
    """Add the addresses of the services that run in the home folder to the environment, until the command ends."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.services import environment

    if context.invoked_subcommand in _ABOUT_THE_HOME:
        return
    try:
        found = environment.find_missing(load_settings().home, os.environ)
    except (ConfigError, OSError):
        return  # the command itself reports what is wrong
    before = {name: os.environ.get(name) for name in found}
    os.environ.update(found)
    context.call_on_close(lambda: _restore(before))


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
