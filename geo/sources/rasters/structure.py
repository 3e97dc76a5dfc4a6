"""Parse a file's structure to bound the cost of reading it before GDAL opens it.

GDAL decodes whole blocks (tiles or strips), with all bands interleaved in them, of whichever image of the file it
needs: full resolution, an overview or a mask. It also trusts the counts and lengths in a header. So every image of a
file is checked here, and a file that exceeds a limit is refused before GDAL opens it.

| attack | limit |
| --- | --- |
| a block that decodes to many bytes: size, interleaved bands, of any image | :data:`MAX_BLOCK_BYTES` |
| very many bands or blocks | :data:`MAX_BANDS`, :data:`MAX_BLOCKS` |
| very many images, or a cyclic chain of them | :data:`MAX_IMAGES` |
| a huge value: metadata, keys, colours, control points | :data:`MAX_VALUE_BYTES`, :data:`MAX_METADATA_BYTES` |
| metadata that names another file to open as overviews | refused |
"""

from __future__ import annotations

import html
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntFlag

MiB = 1024**2
#: Decoded bytes of one block with all its interleaved bands: 426 float32 bands in tiles of 256 pixels are 107 MiB.
MAX_BLOCK_BYTES = 128 * MiB
MAX_BANDS = 2048
#: Blocks of an image times its bands: 100 000 x 100 000 pixels with eight bands in tiles of 256 have 1.2 million.
MAX_BLOCKS = 8_000_000
#: Full resolution, overviews, masks of each, and unused pages.
MAX_IMAGES = 64
MAX_ENTRIES = 512
MAX_VALUE_BYTES = 4 * MiB
#: XML metadata that GDAL parses when it opens a file.
MAX_METADATA_BYTES = MiB
#: Width or height in pixels, so that no product of two overflows.
MAX_SIDE = 2**31 - 1

#: Reads ``(offset, count)`` bytes; fewer at the end of the file.
Read = Callable[[int, int], bytes]


class UnfitStructure(Exception):
    """A file's structure is damaged or exceeds a limit; the message says which."""


class Role(IntFlag):
    """How GDAL uses an image of a file."""

    FULL = 0
    OVERVIEW = 1
    MASK = 4


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a file: full resolution, an overview or a mask."""

    role: Role
    width: int
    height: int
    bands: int
    interleaved: bool
    """Whether each block holds all bands."""
    sample_bytes: int
    block_width: int
    block_height: int
    sequential: bool = False
    """Whether its only strip is decoded row by row, from the top."""

    @property
    def block_bytes(self) -> int:
        """Decoded bytes of the smallest part that GDAL decodes."""
        rows = 1 if self.sequential else self.block_height
        return self.block_width * rows * self.sample_bytes * (self.bands if self.interleaved else 1)

    @property
    def blocks(self) -> int:
        """Number of blocks of one band."""
        return -(-self.width // self.block_width) * -(-self.height // self.block_height)

    def decoded_bytes(self, window: tuple[float, float, float, float], bands: int) -> int:
        """Compute the bytes decoded for some bands of a window: (left, top, right, bottom) in this image's pixels."""
        left, top, right, bottom = window
        planes = 1 if self.interleaved else bands
        if self.sequential:
            return int(min(bottom, self.height)) * self.block_bytes * planes
        cols = int(right - 1e-9) // self.block_width - int(left) // self.block_width + 1
        rows = int(bottom - 1e-9) // self.block_height - int(top) // self.block_height + 1
        return max(0, cols) * max(0, rows) * self.block_bytes * planes


@dataclass(frozen=True, slots=True)
class Structure:
    """The images of a file, full resolution first."""

    images: tuple[Image, ...]

    @property
    def held_bytes(self) -> int:
        """Memory that GDAL holds while the file is open: one decoded block of each image read so far."""
        return MiB + sum(one.block_bytes + 8 * one.blocks for one in self.images)

    @property
    def largest_block(self) -> int:
        """Decoded bytes of the largest block."""
        return max(one.block_bytes for one in self.images)

    def decoded_bytes(
        self, window: tuple[float, float, float, float], step: int, bands: int, *, masked: bool
    ) -> int:
        """Compute the bytes decoded for a window of the file that is read decimated by ``step``."""
        full = self.images[0]
        total = 0
        for mask in (False, True) if masked else (False,):
            fitting = [
                one
                for one in self.images
                if bool(one.role & Role.MASK) is mask and one.width * step >= full.width
            ]
            if fitting:
                image = min(fitting, key=lambda one: one.width)
                share = image.width / full.width
                left, top, right, bottom = (side * share for side in window)
                total += image.decoded_bytes((left, top, right, bottom), 1 if mask else bands)
        return total


def check(image: Image) -> Image:
    """Return the image if each of its blocks is within the limits.

    Raises
    ------
    UnfitStructure
        A size is invalid or exceeds a limit.
    """
    kind = "an overview" if image.role & Role.OVERVIEW else "it"
    kind = "a mask" if image.role & Role.MASK else kind
    if not (0 < image.width <= MAX_SIDE and 0 < image.height <= MAX_SIDE):
        raise UnfitStructure(f"{kind} has an invalid size")
    if not (0 < image.block_width <= MAX_SIDE and 0 < image.block_height <= MAX_SIDE):
        raise UnfitStructure(f"{kind} has blocks of an invalid size")
    if not 0 < image.bands <= MAX_BANDS:
        raise UnfitStructure(f"{kind} has {image.bands} bands; at most {MAX_BANDS} are read")
    if image.block_bytes > MAX_BLOCK_BYTES:
        together = f" of {image.bands} interleaved bands" if image.interleaved and image.bands > 1 else ""
        raise UnfitStructure(
            f"{kind} is stored in blocks of {image.block_height} x {image.block_width} pixels{together}, "
            f"{image.block_bytes / MiB:.0f} MiB each when decoded, more than {MAX_BLOCK_BYTES // MiB}; make it "
            "cloud-optimized, with smaller tiles or bands that are not interleaved"
        )
    if image.blocks * image.bands > MAX_BLOCKS:
        raise UnfitStructure(
            f"{kind} is stored in {image.blocks} blocks, too many for {image.bands} bands; store larger ones"
        )
    return image


def check_metadata(content: bytes) -> None:
    """Refuse metadata that name an overview file: GDAL would open it, in any format, on this machine or any server.

    Raises
    ------
    UnfitStructure
        The metadata name one.
    """
    if "OVERVIEW_FILE" in html.unescape(content.decode("latin-1")).upper():
        raise UnfitStructure("its metadata name another file to be opened")


# --- TIFF ---

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SUBTYPE, _OLD_SUBTYPE = 256, 257, 258, 259, 254, 255
_SAMPLES, _ROWS_PER_STRIP, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 277, 278, 284, 322, 323
_STRIP_OFFSETS, _SUB_IFDS, _METADATA = 273, 330, 42112
#: Fields with one number per block; the limit on blocks bounds their length.
_BLOCK_FIELDS = frozenset({_STRIP_OFFSETS, 279, 324, 325})
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_NOT_COMPRESSED = 1
#: GDAL reads a taller single-strip image row by row; libtiff splits an uncompressed one.
_MIN_SPLIT_HEIGHT = 2000


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    value: bytes
    """The value itself, or its offset in the file."""

    @property
    def size(self) -> int:
        return _TYPE_BYTES.get(self.kind, 1) * self.count


class _Tiff:
    def __init__(self, read: Read) -> None:
        self._read = read
        head = read(0, 16)
        self._order = "<" if head[:2] == b"II" else ">"
        self._big = self._numbers("H", head[2:4])[0] == 43
        self._pointer = "Q" if self._big else "I"
        self.first = self._numbers(self._pointer, head[8:16] if self._big else head[4:8])[0]

    def images(self) -> Iterator[Image]:
        waiting, known = [self.first], set[int]()
        while waiting:
            at = waiting.pop(0)
            if at in known or len(known) >= MAX_IMAGES:
                raise UnfitStructure(f"it has more than {MAX_IMAGES} images, or a cyclic chain of them")
            known.add(at)
            entries, following = self._directory(at)
            yield self._image(entries)
            subs = self._integers(entries, _SUB_IFDS)
            waiting += [one for one in (*subs, following) if one]

    def _directory(self, at: int) -> tuple[dict[int, _Entry], int]:
        count_code, entry_bytes = ("Q", 20) if self._big else ("H", 12)
        start = struct.calcsize("=" + count_code)
        (count,) = self._numbers(count_code, self._read(at, start))
        if not 0 < count <= MAX_ENTRIES:
            raise UnfitStructure(f"one of its images has {count} fields; at most {MAX_ENTRIES} are read")
        body = self._read(at + start, count * entry_bytes + struct.calcsize("=" + self._pointer))
        entries: dict[int, _Entry] = {}
        for place in range(0, count * entry_bytes, entry_bytes):
            tag, kind = self._numbers("HH", body[place : place + 4])
            (length,) = self._numbers(self._pointer, body[place + 4 : place + (12 if self._big else 8)])
            value = body[place + (12 if self._big else 8) : place + entry_bytes]
            entries.setdefault(tag, _Entry(kind, length, value))
        (following,) = self._numbers(self._pointer, body[count * entry_bytes :])
        self._check_values(entries)
        return entries, following

    def _check_values(self, entries: dict[int, _Entry]) -> None:
        for tag, entry in entries.items():
            limit = MAX_METADATA_BYTES if tag == _METADATA else MAX_VALUE_BYTES
            if tag in _BLOCK_FIELDS:
                limit = 8 * MAX_BLOCKS
            if entry.size > limit:
                raise UnfitStructure(f"its field {tag} is {entry.size} bytes long; at most {limit} are read")
        if _METADATA in entries:
            check_metadata(self._value(entries[_METADATA]))

    def _image(self, entries: dict[int, _Entry]) -> Image:
        def first(tag: int, otherwise: int) -> int:
            found = self._integers(entries, tag)
            return found[0] if found else otherwise

        width, height, bands = first(_WIDTH, 0), first(_HEIGHT, 0), first(_SAMPLES, 1)
        bits = max(self._integers(entries, _BITS), default=1)
        if bits > 128:
            raise UnfitStructure(f"it has {bits} bits per sample")
        interleaved = first(_PLANAR, 1) != 2
        tiled = _TILE_WIDTH in entries or _TILE_HEIGHT in entries
        rows = min(first(_ROWS_PER_STRIP, height) or height, height)
        plain = first(_COMPRESSION, _NOT_COMPRESSED) == _NOT_COMPRESSED
        one_strip = not tiled and rows >= height and (interleaved or bands == 1)
        return check(
            Image(
                _role(first(_SUBTYPE, 0), first(_OLD_SUBTYPE, 0)),
                width,
                height,
                bands,
                interleaved,
                -(-bits // 8),
                first(_TILE_WIDTH, 0) if tiled else width,
                first(_TILE_HEIGHT, 0) if tiled else rows,
                one_strip and (plain or height > _MIN_SPLIT_HEIGHT),
            )
        )

    def _integers(self, entries: dict[int, _Entry], tag: int) -> tuple[int, ...]:
        entry = entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS or not entry.count:
            return ()
        if entry.size > 2**18:
            raise UnfitStructure(f"its field {tag} has {entry.count} values")
        return self._numbers(f"{entry.count}{_INTEGERS[entry.kind]}", self._value(entry)[: entry.size])

    def _value(self, entry: _Entry) -> bytes:
        if entry.size <= len(entry.value):
            return entry.value[: entry.size]
        (at,) = self._numbers(self._pointer, entry.value)
        return self._read(at, entry.size)

    def _numbers(self, code: str, content: bytes) -> tuple[int, ...]:
        try:
            return struct.unpack(f"{self._order}{code}", content)
        except struct.error as error:
            raise UnfitStructure("it is damaged or cut off in its header") from error


def _role(subtype: int, old: int) -> Role:
    role = Role(subtype & (Role.OVERVIEW | Role.MASK))
    return role | Role.OVERVIEW if old == 2 else role


def parse_tiff(read: Read) -> Structure:
    """Parse the structure of a classic TIFF or BigTIFF.

    Raises
    ------
    UnfitStructure
        An image exceeds a limit, or the header is damaged.
    """
    return Structure(tuple(_Tiff(read).images()))
