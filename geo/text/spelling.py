"""Messages about invalid input: which known name was probably meant, and what pydantic found wrong."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_CUTOFF = 0.6
_TIME = "write 2026-03-01T00:00:00Z, say; Z is UTC"
#: What to do about problems that pydantic describes in terms of its own.
_ADVICE = {
    "timezone_aware": f"is a time without a time zone; {_TIME}",
    "datetime_parsing": f"is not a time; {_TIME}",
    "datetime_from_date_parsing": f"is not a time; {_TIME}",
    "datetime_type": f"is not a time; {_TIME}",
}
#: Forms of names, in words.
_FORMS = {
    "^[a-z0-9][a-z0-9-]{0,62}$": "write small letters, digits and hyphens, at most 63, the first one no hyphen",
    "^([a-z0-9][a-z0-9-]{0,62})?$": "write small letters, digits and hyphens, at most 63, the first one no hyphen",
    "^[a-z][a-z0-9-]{0,30}$": "write small letters, digits and hyphens, at most 31, the first one a letter",
}


def find_nearest(given: str, known: Iterable[str]) -> str | None:
    """Find the known name most similar to a given one, ignoring case and hyphens; None where none is similar."""
    plain = {_plain(name): name for name in sorted(known, reverse=True)}
    found = difflib.get_close_matches(_plain(given), plain, n=1, cutoff=_CUTOFF)
    return plain[found[0]] if found else None


def describe_errors(
    error: ValidationError,
    *,
    prefix: str = "",
    hidden: Collection[str] = (),
    examples: Mapping[str, object] | None = None,
    model: type[BaseModel] | None = None,
) -> str:
    """Describe every problem of a pydantic error as ``field: message (got value)``, one per line.

    A last line lists the fields of the model where one of them is missing or unknown.

    Parameters
    ----------
    error
        What validating a document or the settings raised.
    prefix
        Prefix of environment variables; with it, fields are named in upper case.
    hidden
        Fields whose values are not shown.
    examples
        Valid values by field.
    model
        The model of the document; unknown fields are compared with its fields.
    """
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        field = str(problem["loc"][0]) if problem["loc"] else ""
        where = f"{prefix}{where.upper()}" if prefix else where
        got = problem.get("input")
        shown = f" (got {got!r})" if field not in hidden and isinstance(got, str | int | float | bool) else ""
        example = f"; write {examples[field]}, say" if examples and field in examples else ""
        lines.append(f"{where or 'value'}: {_describe_problem(problem, model)}{shown}{example}")
    if model is not None and any(
        len(one["loc"]) == 1 and one["type"] in {"extra_forbidden", "missing"} for one in error.errors()
    ):
        lines.append(f"fields: {', '.join(sorted(model.model_fields))}")
    return "\n".join(lines)


def _describe_problem(problem: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    # pydantic writes "Value error, " before what a check of ours says
    message = str(problem["ctx"]["error"] if problem["type"] == "value_error" else problem["msg"])
    where = problem["loc"]
    if where == ("version",):
        message = f"{message}; files of a later format need a later segwatch"
    if problem["type"] in _ADVICE:
        return _ADVICE[problem["type"]]
    if problem["type"] == "string_pattern_mismatch":
        return _FORMS.get(problem["ctx"]["pattern"], message)
    if problem["type"] == "missing" and where and isinstance(where[-1], int):
        return "is missing: the list is too short"
    if problem["type"] != "extra_forbidden" or model is None or not where:
        return message
    known = _fields_at(model, where[:-1])
    near = find_nearest(str(where[-1]), known)
    if near is not None:
        return f"is not a known field; did you mean {near}?"
    return f"is not a known field; known here: {', '.join(sorted(known))}" if known else message


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _fields_at(model: type[BaseModel], where: Iterable[object]) -> list[str]:
    """Field names of the model at a location inside another model; empty where the location is in no model."""
    here: type[BaseModel] | None = model
    for part in where:
        if here is None:
            return []
        if isinstance(part, str):
            field = here.model_fields.get(part)
            here = None if field is None else _model_in(field.annotation)
    return [] if here is None else list(here.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model in a field's annotation: itself, in a list or in a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)
