"""What the names of Sentinel-2 products say. Pure.

Catalogs differ in what they take over from a product into properties; its name always holds it:
``S2B_MSIL2A_20260501T100000_N0511_R079_T31TFJ_20260501T150000``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

#: Properties of different catalogs that hold the name of the product.
PRODUCT = ("s2:product_uri", "sentinel:product_id", "s2:product_id")
#: Properties that hold the name of a part of it.
_PARTS = ("s2:granule_id", "s2:datastrip_id", "title")
#: Properties that hold the baseline itself.
_BASELINE = ("s2:processing_baseline", "sentinel:processing_baseline")
#: Of the processing extension: the baseline in some catalogs, in others the version of their own software.
_VERSION = "processing:version"
_IN_A_NAME = re.compile(r"S2[A-Z]_\w{0,80}_N(\d{2})\.?(\d{2})(?=[_./]|$)")
#: As producers write it, and as it is left when a catalog made a number of it.
_FORM, _NUMBER = re.compile(r"N?(\d{2})\.?(\d{2})"), re.compile(r"(\d)\.(\d{1,2})")
_SENSED = re.compile(r"_S(\d{8}T\d{6})(?=_|$)")
#: Baseline 04.00, the first one that adds a constant to all values, was used from this day on.
OFFSETS_SINCE = datetime(2022, 1, 25, tzinfo=UTC)
_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no", ""})


def baseline(properties: Mapping[str, Any], names: Iterable[str]) -> str:
    """The producer's processing baseline as ``05.11``, from a property or from a name; empty where neither has it.

    Parameters
    ----------
    names
        Further texts that may hold the product's name: the item's id, links.
    """
    for name in _BASELINE:
        found = _normal(properties.get(name), _FORM, _NUMBER)
        if found:
            return found
    texts = [properties.get(name) for name in (*PRODUCT, *_PARTS)]
    for text in (*texts, *names):
        match = _IN_A_NAME.search(text) if isinstance(text, str) else None
        if match:
            return f"{match[1]}.{match[2]}"
    return _normal(properties.get(_VERSION), _FORM)


def _normal(value: object, *forms: re.Pattern[str]) -> str:
    """``05.11``, also of ``N0511``, ``5.11`` and the number 5.1 (which is 05.10); empty for anything else."""
    text = str(value).strip()
    match = next((found for form in forms if (found := form.fullmatch(text))), None)
    return f"{match[1]:0>2}.{match[2]:0<2}" if match else ""


def datastrip(properties: Mapping[str, Any]) -> str:
    """Which part of a pass an item is from, the same however often it is processed; empty where it is not said.

    The time at which sensing began, of a datastrip's id; two datastrips may hold pieces of one tile.
    """
    given = properties.get("s2:datastrip_id")
    if not isinstance(given, str):
        return ""
    sensed = _SENSED.search(given)
    return sensed[1] if sensed else given


def offset_taken_out(properties: Mapping[str, Any]) -> bool:
    """Whether the catalog says that it took the producer's constant out of the values.

    Raises
    ------
    ValueError
        It says something that is neither yes nor no.
    """
    given = {name: str(properties[name]).lower() for name in _APPLIED if properties.get(name) is not None}
    for name, said in given.items():
        if said not in _YES | _NO:
            raise ValueError(f"{name} is {said!r}, neither true nor false")
    return any(said in _YES for said in given.values())


def offset_unknown(properties: Mapping[str, Any], known_baseline: str, *moments: datetime | None) -> bool:
    """Whether nothing tells if the values hold the producer's constant.

    Parameters
    ----------
    moments
        When it was acquired and, where known, processed: before the first baseline that adds a constant, no product
        had one. Archives are processed again, so a product may be younger than its pixels.
    """
    if known_baseline or offset_taken_out(properties):
        return False
    return any(moment is not None and moment >= OFFSETS_SINCE for moment in moments)
