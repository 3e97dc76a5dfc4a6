"""Names that are nearly right: which known name was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel

_CUTOFF = 0.6


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name that is most like the one given, whatever its case and hyphens; None where none is."""
    plain = {_plain(one): one for one in sorted(known, reverse=True)}
    found = difflib.get_close_matches(_plain(given), plain, n=1, cutoff=_CUTOFF)
    return plain[found[0]] if found else None


def about_field(problem: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    """What pydantic says of one problem; of a field that ``model`` does not have, also which one was meant.

    ``problem`` is one of ``ValidationError.errors()``.
    """
    said = str(problem["msg"])
    where = problem["loc"]
    if problem["type"] != "extra_forbidden" or model is None or not where:
        return said
    known = _fields_at(model, where[:-1])
    near = nearest(str(where[-1]), known)
    if near is not None:
        return f"is no known field; did you mean {near}?"
    return f"is no known field; known here: {', '.join(sorted(known))}" if known else said


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _fields_at(model: type[BaseModel], where: Iterable[object]) -> list[str]:
    """Names of the fields of the model at a place in another; none where the place leads out of models."""
    here: type[BaseModel] | None = model
    for part in where:
        if here is None:
            return []
        if isinstance(part, str):
            field = here.model_fields.get(part)
            here = None if field is None else _model_in(field.annotation)
    return [] if here is None else list(here.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds: itself, or in a list or an alternative."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)
