"""YAML that a person wrote, read at a bounded cost.

YAML can say much with few letters: nine lines of aliases of aliases stand for a thousand million values, and a number
to the base of 60 with a megabyte of digits takes hours to read. So the size comes first, then what the document would
be once all aliases are written out, and only then are values made of it.
"""

from __future__ import annotations

from typing import Any

import yaml

from segwatch.flows.errors import ConfigError

MAX_BYTES = 2**20
#: Values as written: the reader takes about 0.1 ms for each. Outlines belong into files of their own.
_MAX_NODES = 20_000
#: Values with all aliases written out.
_MAX_VALUES = 100_000
_MAX_DEPTH = 50
#: Of a number or time without quotes.
_MAX_NUMBER_CHARS = 100
_NUMBERS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))
#: What a safe loader raises of values that are not what their tags say, and of depth, beside its own errors.
_INVALID_VALUES = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


class _Loader(yaml.SafeLoader):
    """A date that is invalid stays text, so that the message names the field that it is in."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As the library has it, for a bounded number of nodes and a bounded depth."""
        self._nodes += 1
        self._depth += 1
        if self._nodes > _MAX_NODES:
            raise yaml.YAMLError(
                f"has more than {_MAX_NODES} values; put the outline of an area into a GeoJSON file"
            )
        if self._depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"line {self.line + 1} is nested more than {_MAX_DEPTH} times")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _moment(loader: _Loader, node: yaml.ScalarNode) -> object:
    try:
        return loader.construct_yaml_timestamp(node)
    except (ValueError, OverflowError):
        return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _moment)


def from_yaml(content: bytes, name: str) -> object:
    """A YAML document that a person wrote.

    Raises
    ------
    ConfigError
        It is invalid, or costs too much to read; the message begins with ``name``.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"{name}: is larger than {MAX_BYTES // 2**20} MiB; put the outline of an area into a GeoJSON file"
        )
    try:
        return _read(content.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is no text in UTF-8: {error}; save it in this encoding") from error
    except (yaml.YAMLError, *_INVALID_VALUES) as error:
        raise ConfigError(f"{name}: cannot be read as YAML: {error}") from error


def _read(text: str, name: str) -> object:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Sizes(name).of(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _Sizes:
    """Values below each node, with aliases written out. Each node is looked at once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: dict[int, int] = {}
        self._open: set[int] = set()

    def of(self, node: yaml.Node) -> int:
        if id(node) in self._known:
            return self._known[id(node)]
        if id(node) in self._open:
            raise ConfigError(
                f"{self._name}: line {_line(node)}: an alias leads to what it is a part of; write it out"
            )
        self._open.add(id(node))
        size = 1 + sum(self.of(part) for part in self._parts(node))
        self._open.remove(id(node))
        if size > _MAX_VALUES:
            raise ConfigError(
                f"{self._name}: has more than {_MAX_VALUES} values once its aliases are written out; leave aliases out"
            )
        self._known[id(node)] = size
        return size

    def _parts(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.MappingNode):
            return [part for pair in node.value for part in pair]
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if node.tag in _NUMBERS and len(node.value) > _MAX_NUMBER_CHARS:
            raise ConfigError(
                f"{self._name}: line {_line(node)}: a number or time of {len(node.value)} characters; correct it, or "
                "write it in quotes if it is a text"
            )
        return []


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
