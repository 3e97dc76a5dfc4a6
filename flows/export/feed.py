"""Tokens of delta feeds: where the last reading of a watch ended, as one word that a command line or header can hold.

A token is of one watch, layer and bounding box; it holds no rows and no secret. It is valid for as long as the ledger.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from segwatch.db.analyst import Position, SeriesPosition
from segwatch.flows.errors import ConfigError

_PREFIX = "sw1."
_Bounds = tuple[float, float, float, float]


def write_token(watch: str, layer: str, bounds: _Bounds | None, position: Position) -> str:
    """Write the token of a reading."""
    content = {
        "watch": watch,
        "layer": layer,
        "bbox": bounds,
        "area": None if position.area_id is None else str(position.area_id),
        "series": [
            [str(one.series_id), one.recorded_to.isoformat(), one.in_force] for one in position.series
        ],
    }
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)
    return _PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_token(token: str, watch: str, layer: str, bounds: _Bounds | None) -> Position:
    """Read the position from a token.

    Raises
    ------
    ConfigError
        It is no token, or one of another watch, layer or bounding box.
    """
    content = _unpack(token)
    asked = {"watch": watch, "layer": layer, "bbox": None if bounds is None else list(bounds)}
    for name, value in asked.items():
        if content.get(name) != value:
            raise ConfigError(
                f"--since: the token is of {name} {content.get(name)!r}, not {value!r}; a feed goes on as it began"
            )
    try:
        series = tuple(
            SeriesPosition(UUID(identity), _read_moment(recorded_to), bool(in_force))
            for identity, recorded_to, in_force in content["series"]
        )
        return Position(series, None if content["area"] is None else UUID(content["area"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _make_error() from error


def _read_moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)


def _unpack(token: str) -> dict[str, Any]:
    packed = token.strip().removeprefix(_PREFIX)
    try:
        if packed == token.strip():
            raise _make_error()
        raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        unpacking = zlib.decompressobj()
        content = json.loads(unpacking.decompress(raw, 2**20))
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise _make_error() from error
    if not isinstance(content, dict):
        raise _make_error()
    return content


def _make_error() -> ConfigError:
    return ConfigError(
        "--since: this is no token of an export; segwatch export prints one, and files keep it as next_token"
    )
