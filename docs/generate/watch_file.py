"""Pages of the YAML and TOML files that people write, from their pydantic models; the watch file's JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docs.generate.markdown import NOTICE, code, table
from segwatch.flows.config import watchfile
from segwatch.flows.events.playbooks import Playbook
from segwatch.geo.sources import profiles

_WATCH = """# Watch file

A watch file is YAML; `segwatch apply FILE` reads it. Unknown fields are errors, and every message names the file, the
field, the value and the fix. `${NAME}` in a catalog's or channel's address stands for an environment variable.

The same as [JSON Schema](watch.schema.json), for editors: begin the file with
`# yaml-language-server: $schema=PATH/watch.schema.json`.

The format is defined in `flows/config/watch_document.py`. Loadable examples are in the folder `examples`.

"""
_PLAYBOOK = """# Playbook

A playbook is YAML and says what to do about events of one kind. Those that ship with segwatch are in
`flows/events/playbooks_data`; a folder named by `SEGWATCH_PLAYBOOKS` takes their place. Defined in
`flows/events/playbooks.py`; see [disaster runs](../how-to/disaster-runs.md).

"""
_PROFILE = """# Source profile

A profile is TOML and says how one collection's imagery is found and rendered for the model: bands, scaling, nodata,
cloud mask, hosts and access. Those that ship with segwatch are in `geo/sources/profiles_data`; any path that ends in
`.toml` names one of your own. Defined in `geo/sources/profiles.py`; see [real catalogs](../how-to/real-catalogs.md).

"""


def schema() -> dict[str, Any]:
    """Return the watch file's JSON Schema."""
    return watchfile.json_schema()


def schema_text() -> str:
    """Return the JSON Schema as it is committed."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def watch_page() -> str:
    """Return the page of the watch file."""
    return NOTICE + _WATCH + "\n".join(_tables(schema()))


def playbook_page() -> str:
    """Return the page of the playbook."""
    return NOTICE + _PLAYBOOK + "\n".join(_tables(Playbook.model_json_schema()))


def profile_page() -> str:
    """Return the page of the source profile."""
    return NOTICE + _PROFILE + "\n".join(_tables(profiles._ProfileFile.model_json_schema()))


def _tables(document: Mapping[str, Any]) -> Iterator[str]:
    """One table for the file, then one for each part, in the order in which the fields name them."""
    parts: dict[str, Mapping[str, Any]] = document.get("$defs", {})
    yield "## The file\n\n" + _table(document, parts)
    for name in _order(document, parts):
        one = parts[name]
        if "properties" in one:
            yield f"## {_title(name)}\n\n" + _table(one, parts)


def _order(document: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    queue = [document]
    while queue:
        for field in queue.pop(0).get("properties", {}).values():
            for name in _references(field):
                if name not in found:
                    found.append(name)
                    queue.append(parts[name])
    return found


def _references(field: object) -> Iterator[str]:
    if isinstance(field, Mapping):
        if "$ref" in field:
            yield str(field["$ref"]).rpartition("/")[2]
        for one in field.values():
            yield from _references(one)
    elif isinstance(field, list):
        for one in field:
            yield from _references(one)


def _title(name: str) -> str:
    return name.strip("_").removesuffix("Section").lower()


def _table(document: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> str:
    required = document.get("required", ())
    rows = [
        (
            code(name),
            _type(field, parts),
            "required" if name in required else _default(field),
            _meaning(field, parts),
        )
        for name, field in document.get("properties", {}).items()
    ]
    return table(("field", "type", "default", "meaning"), rows)


def _meaning(field: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the field's own description, else that of the part it refers to: pydantic omits one that says the same."""
    part = parts[str(field["$ref"]).rpartition("/")[2]] if "$ref" in field else {}
    return str(field.get("description") or part.get("description", ""))


def _type(field: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> str:
    if "$ref" in field:
        return _named(str(field["$ref"]).rpartition("/")[2], parts)
    for key in ("anyOf", "allOf", "oneOf"):
        if key in field:
            return " or ".join(_type(one, parts) for one in field[key] if one.get("type") != "null")
    if "const" in field or "enum" in field:
        return ", ".join(code(one) for one in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        inner = field.get("items") or (field.get("prefixItems") or [{}])[0]
        return f"list of {_type(inner, parts)}"
    names = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}
    bounds = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))
    limits = [f"{words} {field[key]:g}" for key, words in bounds if key in field]
    return ", ".join([names.get(str(field.get("type")), "mapping"), *limits])


def _named(name: str, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """A part with a table of its own, or the values of an enumeration."""
    if "enum" in parts[name]:
        return ", ".join(code(one) for one in parts[name]["enum"])
    return f"[{_title(name)}](#{_title(name)})"


def _default(field: Mapping[str, Any]) -> str:
    given = field.get("default")
    if given in (None, "", [], {}) or isinstance(given, dict):
        return ""
    if isinstance(given, list):
        return "all" if len(given) > 3 else ", ".join(code(one) for one in given)
    return code(str(given).lower() if isinstance(given, bool) else given)
