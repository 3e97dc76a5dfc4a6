"""Page of the errors, from the error classes of each package."""

from __future__ import annotations

import inspect
from types import ModuleType

from docs.generate.markdown import NOTICE, code, file_of, plain, table
from segwatch.client import errors as client
from segwatch.db import errors as db
from segwatch.flows import errors as flows
from segwatch.geo import errors as geo
from segwatch.model import errors as model

_INTRODUCTION = """# Errors

Every package has one tree of errors. Commands print an error as one line that names the value and the fix, and end with
exit status 1; `SEGWATCH_DEBUG=1` shows the traceback too. What to do about the findings of `segwatch doctor` is in
[troubleshooting](../how-to/troubleshooting.md).

"""


def page() -> str:
    """Return the page: one table for each package."""
    return NOTICE + _INTRODUCTION + "\n".join(_section(one) for one in (client, flows, geo, db, model))


def _section(module: ModuleType) -> str:
    classes = [
        one
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, Exception) and one.__module__ == module.__name__
    ]
    rows = [(code(one.__name__), code(one.__bases__[0].__name__), plain(one.__doc__)) for one in classes]
    heading = module.__name__.removesuffix(".errors")
    return f"## {heading}\n\nDefined in `{file_of(module.__name__)}`.\n\n" + table(
        ("error", "is a", "meaning"), rows
    )
