"""TIFFs as no library writes them: any structure, with one small block of data for all of theirs."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

#: Type, code for struct, bytes.
_SHORT, _LONG, _DOUBLE, _ASCII = (3, "H", 2), (4, "I", 4), (12, "d", 8), (2, "s", 1)
_GEO_KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
_OVERVIEW, _MASK = 1, 4


@dataclass(frozen=True)
class Page:
    """One image. Its blocks all hold ``filled``, or nothing at all (a sparse file)."""

    width: int
    height: int
    bands: int = 3
    bits: int = 8
    tile: tuple[int, int] | None = None
    """(width, height); None = one strip."""
    separate: bool = False
    role: int = 0
    filled: int | None = None
    compression: int = 8
    more: dict[int, tuple[tuple[int, str, int], tuple[Any, ...]]] = field(default_factory=dict)
    """Further fields."""

    def block(self) -> bytes:
        """A block as it is stored."""
        if self.filled is None:
            return b""
        width, height = self.tile or (self.width, self.height)
        count = width * height * (1 if self.separate else self.bands) * self.bits // 8
        return _deflated(self.filled, count) if self.compression == 8 else bytes([self.filled]) * count

    def blocks(self) -> int:
        """How many it has."""
        width, height = self.tile or (self.width, self.height)
        planes = self.bands if self.separate else 1
        return -(-self.width // width) * -(-self.height // height) * planes


def overview(width: int, height: int, bands: int = 3, **more: Any) -> Page:
    """An overview."""
    return Page(width, height, bands, role=_OVERVIEW, **more)


def mask(width: int, height: int, **more: Any) -> Page:
    """A mask of full resolution."""
    return Page(width, height, 1, role=_MASK, **more)


def hostile_tiff(*pages: Page, loop: bool = False, pixel_m: float = 10.0) -> bytes:
    """A classic little-endian TIFF of these images in EPSG:32633; ``loop`` chains the last to the first."""
    content = bytearray(b"II*\x00" + bytes(4))
    link, first = 4, 0
    for number, page in enumerate(pages):
        fields = _fields(page, content)
        if number == 0:
            fields[33550] = _DOUBLE, (pixel_m, pixel_m, 0.0)
            fields[33922] = _DOUBLE, (0.0, 0.0, 0.0, 500_000.0, 5_100_000.0, 0.0)
            fields[34735] = _SHORT, _GEO_KEYS
        at = _directory(content, fields)
        struct.pack_into("<I", content, link, at)
        first = first or at
        link = len(content) - 4
    if loop:
        struct.pack_into("<I", content, link, first)
    return bytes(content)


def _deflated(value: int, count: int) -> bytes:
    """At least so many equal bytes, compressed, quickly: one piece that is repeated."""
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    piece = packer.compress(bytes([value]) * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\x01" + piece * -(-count // 2**20)


def _fields(page: Page, content: bytearray) -> dict[int, Any]:
    block, at = page.block(), len(content)
    content += block
    count = page.blocks()
    offsets = (at if block else 0,) * count
    lengths = (len(block),) * count
    fields: dict[int, Any] = {
        254: (_LONG, (page.role,)),
        256: (_LONG, (page.width,)),
        257: (_LONG, (page.height,)),
        258: (_SHORT, (page.bits,) * page.bands),
        259: (_SHORT, (page.compression,)),
        262: (_SHORT, (4 if page.role & _MASK else 1,)),
        277: (_SHORT, (page.bands,)),
        284: (_SHORT, (2 if page.separate else 1,)),
    }
    if page.bands > 1:
        fields[338] = _SHORT, (0,) * (page.bands - 1)
    if page.tile is None:
        fields |= {273: (_LONG, offsets), 278: (_LONG, (page.height,)), 279: (_LONG, lengths)}
    else:
        width, height = page.tile
        fields |= {
            322: (_LONG, (width,)),
            323: (_LONG, (height,)),
            324: (_LONG, offsets),
            325: (_LONG, lengths),
        }
    return fields | page.more


def _directory(content: bytearray, fields: dict[int, Any]) -> int:
    entries = bytearray()
    for tag, ((kind, code, _), values) in sorted(fields.items()):
        value = values[0] if code == "s" else struct.pack(f"<{len(values)}{code}", *values)
        count = len(value) if code == "s" else len(values)
        if len(value) > 4:
            at = len(content)
            content += value + bytes(len(value) % 2)
            value = struct.pack("<I", at)
        entries += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    start = len(content)
    content += struct.pack("<H", len(fields)) + entries + bytes(4)
    return start


def text(value: bytes) -> tuple[tuple[int, str, int], tuple[bytes]]:
    """The value of a field of text."""
    return _ASCII, (value,)
