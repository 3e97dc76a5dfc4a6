"""Read YAML files that people write, with bounded memory and time.

Nine lines of nested aliases expand to a billion values, and a base-60 number of a megabyte takes hours to parse. So the
file size is checked first, then the number of values with all aliases expanded, and only then are values constructed.
"""

from __future__ import annotations

from typing import Any

import yaml

from segwatch.flows.errors import ConfigError

MAX_BYTES = 2**20
#: Values before aliases are expanded; parsing takes about 0.1 ms each. Geometries belong in GeoJSON files.
_MAX_NODES = 20_000
#: Values with all aliases expanded.
_MAX_VALUES = 100_000
_MAX_DEPTH = 50
#: Length of a number or time without quotes.
_MAX_NUMBER_CHARS = 100
_NUMBERS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))
#: What PyYAML raises for values that do not match their tags, and for depth, besides its own errors.
_INVALID_VALUES = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


class _Loader(yaml.SafeLoader):
    """Leaves invalid dates as text, so that validation can name the field."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node as PyYAML does, up to a number of nodes and a depth."""
        self._nodes += 1
        self._depth += 1
        if self._nodes > _MAX_NODES:
            raise yaml.YAMLError(f"has more than {_MAX_NODES} values; put the area into a GeoJSON file")
        if self._depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"line {self.line + 1} is nested more than {_MAX_DEPTH} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _construct_time(loader: _Loader, node: yaml.ScalarNode) -> object:
    try:
        return loader.construct_yaml_timestamp(node)
    except (ValueError, OverflowError):
        return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _construct_time)


def parse_yaml(content: bytes, name: str) -> object:
    """Parse a YAML document.

    Raises
    ------
    ConfigError
        The document is invalid or too large; the message begins with ``name``.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"{name}: is larger than {MAX_BYTES // 2**20} MiB; put the area into a GeoJSON file"
        )
    try:
        return _read(content.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 text: {error}; save it as UTF-8") from error
    except (yaml.YAMLError, *_INVALID_VALUES) as error:
        raise ConfigError(f"{name}: cannot be read as YAML: {error}") from error


def index_lines(content: bytes) -> dict[str, int]:
    """Index the fields of a document: path of a field, such as ``rules.0.name`` -> its line, from 1.

    Entries of a list that have a name are also found by it: ``rules.grown.kinds``. Empty for an invalid document.
    """
    try:
        loader = _Loader(content.decode("utf-8"))
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except (UnicodeDecodeError, yaml.YAMLError, *_INVALID_VALUES):
        return {}
    found: dict[str, int] = {}
    if node is not None:
        _index(node, "", found, set())
    return found


def _index(node: yaml.Node, where: str, found: dict[str, int], seen: set[int]) -> None:
    """Add the fields below a node; one that aliases repeat is visited once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                path = f"{where}.{key.value}".lstrip(".")
                found.setdefault(path, _line(key))
                _index(value, path, found, seen)
    elif isinstance(node, yaml.SequenceNode):
        for position, one in enumerate(node.value):
            path = f"{where}.{position}"
            found.setdefault(path, _line(one))
            below: dict[str, int] = {}
            _index(one, path, below, seen)
            found.update(below)
            if (name := _read_name(one)) is not None:
                found |= {f"{where}.{name}{field.removeprefix(path)}": line for field, line in below.items()}
                found.setdefault(f"{where}.{name}", _line(one))


def _read_name(node: yaml.Node) -> str | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    named = (
        value.value for key, value in node.value if key.value == "name" and isinstance(value, yaml.ScalarNode)
    )
    return next(named, None)


def _read(text: str, name: str) -> object:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _SizeCounter(name).count(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _SizeCounter:
    """Counts the values below nodes with aliases expanded, and checks their keys, visiting each node once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: dict[int, int] = {}
        self._open: set[int] = set()

    def count(self, node: yaml.Node) -> int:
        if id(node) in self._known:
            return self._known[id(node)]
        if id(node) in self._open:
            raise ConfigError(f"{self._name}: line {_line(node)}: an alias contains itself; write it out")
        self._open.add(id(node))
        size = 1 + sum(self.count(part) for part in self._parts(node))
        self._open.remove(id(node))
        if size > _MAX_VALUES:
            raise ConfigError(
                f"{self._name}: has more than {_MAX_VALUES} values once its aliases are expanded; leave aliases out"
            )
        self._known[id(node)] = size
        return size

    def _parts(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.MappingNode):
            self._require_each_once(node)
            return [part for pair in node.value for part in pair]
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if node.tag in _NUMBERS and len(node.value) > _MAX_NUMBER_CHARS:
            raise ConfigError(
                f"{self._name}: line {_line(node)}: a number or time of {len(node.value)} characters; correct it, or "
                "write it in quotes if it is text"
            )
        return []

    def _require_each_once(self, node: yaml.MappingNode) -> None:
        """Refuse a field that is given twice: PyYAML would silently take the last one."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                raise ConfigError(
                    f"{self._name}: line {_line(key)}: {key.value} is given twice, first on line {lines[key.value]}; "
                    "take out one of them"
                )
            lines[key.value] = _line(key)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
