"""Page of the settings, from the pydantic classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.generate.markdown import NOTICE, code, file_of, plain, table
from segwatch.flows.config.settings import SECRET_VARIABLES, FlowSettings

_INTRODUCTION = """# Settings

segwatch reads its settings from environment variables that begin with `SEGWATCH_`, when a command or a run starts.
Lists and objects are JSON. A variable that is no setting (`SEGWATCH_DATABSE_URL`) is reported with the name that was
probably meant. Secrets never appear in messages or logs.

Watch files have their own page: [watch file](watch-file.md).

"""
_OTHERS = """## Read beside the settings

| variable | what it is for |
| --- | --- |
| `SEGWATCH_DEBUG` | shows the traceback of an error that is otherwise one line |
| `SEGWATCH_PG_BINDIR` | folder of PostgreSQL's programs, where the demo and the tests do not find them |
| `SEGWATCH_STAC_URL`, `SEGWATCH_RECEIVER_URL` | the demo's catalog and webhook receiver; `segwatch env` prints them |
| `PREFECT_API_URL`, `PREFECT_API_AUTH_STRING` | Prefect's own: the server and its password |
"""


def page() -> str:
    """Return the page: one table for each settings class, in the order of their fields."""
    return NOTICE + _INTRODUCTION + "\n".join(_classes()) + "\n" + _OTHERS


def _classes() -> Iterator[str]:
    owners = {name: _owner(name) for name in FlowSettings.model_fields}
    for owner in dict.fromkeys(owners.values()):
        rows = [
            _row(name, FlowSettings.model_fields[name])
            for name, defined in owners.items()
            if defined is owner
        ]
        yield f"## {owner.__name__}\n\n{plain(owner.__doc__)} Defined in `{file_of(owner)}`.\n\n" + table(
            ("variable", "type", "default", "meaning"), rows
        )


def _owner(name: str) -> type:
    return next(one for one in FlowSettings.__mro__ if name in inspect.get_annotations(one))


def _row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    variable = f"SEGWATCH_{name.upper()}"
    secret = " Secret." if variable in SECRET_VARIABLES else ""
    example = f" Example: `{field.examples[0]}`." if field.examples else ""
    meaning = (field.description or "").removesuffix("; a JSON list").removesuffix("; a JSON object")
    return code(variable), _type(field), _default(field), f"{meaning}.{secret}{example}"


def _type(field: FieldInfo) -> str:
    text = str(field.annotation)
    kinds = (
        ("dict", "JSON object"),
        ("tuple", "JSON list"),
        ("SecretStr", "text"),
        ("Path", "folder"),
        ("bool", "true or false"),
        ("int", "whole number"),
        ("float", "number"),
    )
    kind = next((shown for part, shown in kinds if part in text), "text")
    bounds = [_bound(one) for one in field.metadata]
    return ", ".join([kind, *filter(None, bounds)])


def _bound(given: Any) -> str:
    signs = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
    return ", ".join(
        f"{words} {getattr(given, name):g}" for name, words in signs if getattr(given, name, None) is not None
    )


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None or field.default in (None, "", (), PydanticUndefined):
        return "unset"
    if isinstance(field.default, tuple):
        return "<br>".join(code(one) for one in field.default)
    if isinstance(field.default, float):
        return code(f"{field.default:g}")
    return code(str(field.default).lower() if isinstance(field.default, bool) else field.default)
