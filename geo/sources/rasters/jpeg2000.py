"""Parse the structure of a JPEG 2000 file from the headers of its boxes and its codestream."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from segwatch.geo.sources.rasters.structure import (
    MAX_METADATA_BYTES,
    Image,
    MiB,
    Read,
    Role,
    Structure,
    UnfitStructure,
    check,
    check_metadata,
)

_MAX_BOXES = 256
_MAX_MARKERS = 2048
#: Approximate memory of OpenJPEG for each tile and component, and for each precinct or code block.
_TILE_BYTES, _PART_BYTES = 1200, 200
_MAX_OVERHEAD_BYTES = 256 * MiB
#: GDAL decodes a single-tile image in pieces of this side.
_PIECE_PX = 1024
_SOC, _SIZ, _COD, _COC, _SOT = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF90


def parse_jpeg2000(read: Read) -> Structure:
    """Parse the structure of a JPEG 2000 file (JP2, ISO/IEC 15444-1).

    Raises
    ------
    UnfitStructure
        It exceeds a limit, or its header is damaged.
    """
    try:
        return _parse(read)
    except struct.error as error:
        raise UnfitStructure("it is damaged or cut off in its header") from error


def _parse(read: Read) -> Structure:
    start = _find_codestream(read)
    siz, part_px = b"", 2**30
    for code, body in _iterate_markers(read, start):
        if code == _SIZ:
            siz = body
        elif code in {_COD, _COC}:
            part_px = min(part_px, _compute_smallest_part(code, body, wide=len(siz) > 36 + 3 * 256))
    _, right, bottom, left, top, tile_w, tile_h, tile_left, tile_top, bands = struct.unpack(">H8IH", siz[:36])
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0 or not tile_w or not tile_h or tile_left > left or tile_top > top:
        raise UnfitStructure("it has an invalid size")
    tiles = -(-(right - tile_left) // tile_w) * -(-(bottom - tile_top) // tile_h)
    one = tiles == 1
    block_w, block_h = (min(_PIECE_PX, side) for side in (width, height)) if one else (tile_w, tile_h)
    # samples are decoded as 32-bit integers
    image = check(Image(Role.FULL, width, height, bands, True, 4, min(block_w, width), min(block_h, height)))
    parts = min(tile_w, width) * min(tile_h, height) * 4 // 3 // part_px
    if tiles * bands * _TILE_BYTES + parts * bands * _PART_BYTES > _MAX_OVERHEAD_BYTES:
        raise UnfitStructure(
            f"it has {tiles} tiles of {parts} parts in {bands} components, too many to decode"
        )
    return Structure((image,))


def _find_codestream(read: Read) -> int:
    """Offset of the codestream; checks all boxes, as GDAL reads them all."""
    at, found = 0, 0
    for _ in range(_MAX_BOXES):
        head = read(at, 16)
        if not head:
            break
        length, kind = struct.unpack(">I4s", head[:8])
        skip = 8
        if length == 1:
            (length,), skip = struct.unpack(">Q", head[8:16]), 16
        if kind == b"jp2c":
            found = found or at + skip
        elif length > MAX_METADATA_BYTES:
            raise UnfitStructure(
                f"one of its boxes is {length} bytes long; at most {MAX_METADATA_BYTES} are read"
            )
        else:
            check_metadata(read(at, length or MAX_METADATA_BYTES))
        if length < skip:  # 0: to the end of the file
            break
        at += length
    else:
        raise UnfitStructure(f"it has more than {_MAX_BOXES} boxes")
    if not found:
        raise UnfitStructure("it holds no codestream")
    return found


def _iterate_markers(read: Read, at: int) -> Iterator[tuple[int, bytes]]:
    """Markers of the main header with their bodies."""
    (code,) = struct.unpack(">H", read(at, 2))
    if code != _SOC:
        raise UnfitStructure("its codestream is damaged")
    at += 2
    for number in range(_MAX_MARKERS):
        (code,) = struct.unpack(">H", read(at, 2))
        if code == _SOT:
            return
        if (number == 0) is not (code == _SIZ):
            raise UnfitStructure("its codestream is damaged")
        (length,) = struct.unpack(">H", read(at + 2, 2))
        yield code, read(at + 4, max(0, length - 2))
        at += 2 + max(2, length)
    raise UnfitStructure("its codestream has too many headers")


def _compute_smallest_part(code: int, body: bytes, *, wide: bool) -> int:
    """Pixels of a code block or of the smallest precinct."""
    style_at, rest_at = (0, 5) if code == _COD else (2, 3) if wide else (1, 2)
    rest = body[rest_at:]
    if len(rest) < 5:
        raise UnfitStructure("its codestream is damaged")
    block = 1 << ((rest[1] & 15) + 2) + ((rest[2] & 15) + 2)
    precincts = [1 << (one & 15) + (one >> 4) for one in rest[5:]] if body[style_at] & 1 else []
    return min([block, *precincts])
