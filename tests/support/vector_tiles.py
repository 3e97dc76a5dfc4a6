"""Reads Mapbox vector tiles (https://github.com/mapbox/vector-tile-spec, version 2), as a map does."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Feature:
    """One feature; coordinates in units of the tile, y downwards."""

    properties: dict[str, Any]
    geometry: BaseGeometry


def decoded(tile: bytes) -> dict[str, list[Feature]]:
    """The features of each layer."""
    return dict(_layer(value) for number, value in _fields(tile) if number == 3)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a protocol buffer message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            size, at = _varint(message, at)
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _numbers(packed: bytes) -> list[int]:
    found, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        found.append(value)
    return found


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _layer(message: bytes) -> tuple[str, list[Feature]]:
    fields = list(_fields(message))
    (name,) = (value.decode() for number, value in fields if number == 1)
    keys = [value.decode() for number, value in fields if number == 3]
    values = [_value(value) for number, value in fields if number == 4]
    return name, [_feature(value, keys, values) for number, value in fields if number == 2]


def _value(message: bytes) -> Any:
    ((number, value),) = _fields(message)
    if number == 1:
        return value.decode()
    if number in {2, 3}:
        return struct.unpack("<f" if number == 2 else "<d", value)[0]
    return _zigzag(value) if number == 6 else bool(value) if number == 7 else value


def _feature(message: bytes, keys: list[str], values: list[Any]) -> Feature:
    fields = dict(_fields(message))
    tags = _numbers(fields.get(2, b""))
    properties = {keys[key]: values[value] for key, value in zip(tags[::2], tags[1::2], strict=True)}
    return Feature(properties, _geometry(fields[3], _numbers(fields[4])))


def _geometry(kind: int, commands: list[int]) -> BaseGeometry:
    """Points and polygons; a ring that turns the other way is a hole in the one before."""
    x = y = at = 0
    paths: list[list[tuple[int, int]]] = []
    while at < len(commands):
        command, count = commands[at] & 7, commands[at] >> 3
        at += 1
        for _ in range(count if command in {1, 2} else 0):
            x += _zigzag(commands[at])
            y += _zigzag(commands[at + 1])
            at += 2
            if command == 1:
                paths.append([])
            paths[-1].append((x, y))
    if kind == 1:
        return Point(paths[0][0])
    shells: list[tuple[list[Any], list[Any]]] = []
    for path in paths:
        # y points down: what is clockwise on the screen is counter-clockwise in numbers
        if shapely.LinearRing(path).is_ccw:
            shells.append((path, []))
        else:
            shells[-1][1].append(path)
    polygons = [Polygon(shell, holes) for shell, holes in shells]
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
