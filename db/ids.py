"""Deterministic ids: UUIDv5 of what they identify, so that repeating a step finds the same row."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f1d3f0e-5a0b-5b5e-9a53-6a1f5c7f2a10")


def make_id(kind: str, *parts: object) -> UUID:
    """Make the id of a ``kind`` of thing identified by ``parts``, unambiguous whatever characters they contain."""
    return uuid5(_NAMESPACE, json.dumps([kind, *map(str, parts)], ensure_ascii=True))
