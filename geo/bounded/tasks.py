"""Operations of the child process, and the protocol between the processes: well-known binary (WKB) and numbers only."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import BinaryIO

import shapely
from shapely.geometry.base import BaseGeometry

_HEAD = struct.Struct("<BBI")
_LENGTH = struct.Struct("<Q")
_NUMBER = struct.Struct("<d")


class Task(IntEnum):
    """Operation of the child process."""

    MAKE_VALID = 1
    UNION_ALL = 2
    INTERSECTION = 3
    DIFFERENCE = 4
    BUFFER = 5


def compute(task: Task, geometries: Sequence[BaseGeometry], numbers: Sequence[float] = ()) -> BaseGeometry:
    """Compute an operation in this process."""
    match task:
        case Task.MAKE_VALID:
            return shapely.make_valid(geometries[0])
        case Task.UNION_ALL:
            return shapely.union_all(list(geometries))
        case Task.INTERSECTION:
            return shapely.intersection(geometries[0], geometries[1])
        case Task.DIFFERENCE:
            return shapely.difference(geometries[0], geometries[1])
        case Task.BUFFER:
            distance, quad_segs = numbers
            return shapely.buffer(geometries[0], distance, quad_segs=int(quad_segs))


def write_request(
    stream: BinaryIO, task: Task, geometries: Sequence[BaseGeometry], numbers: Sequence[float]
) -> None:
    """Write a request to the child."""
    stream.write(_HEAD.pack(task, len(numbers), len(geometries)))
    for number in numbers:
        stream.write(_NUMBER.pack(number))
    for one in geometries:
        write_bytes(stream, shapely.to_wkb(one))
    stream.flush()


def read_request(stream: BinaryIO) -> tuple[Task, list[BaseGeometry], list[float]]:
    """Read a request of the parent.

    Raises
    ------
    EOFError
        The parent has closed the pipe.
    """
    task, numbers, geometries = _HEAD.unpack(_read(stream, _HEAD.size))
    values = [float(_NUMBER.unpack(_read(stream, _NUMBER.size))[0]) for _ in range(numbers)]
    return Task(task), [shapely.from_wkb(read_bytes(stream)) for _ in range(geometries)], values


def write_bytes(stream: BinaryIO, content: bytes) -> None:
    """Write bytes, preceded by their length."""
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)


def read_bytes(stream: BinaryIO) -> bytes:
    """Read what :func:`write_bytes` wrote.

    Raises
    ------
    EOFError
        The other process has ended.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    return _read(stream, length)


def _read(stream: BinaryIO, length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content
