"""Processing baseline, datastrip and radiometric offset of Sentinel-2 items. Pure.

Catalogs copy different product fields into properties, but the product name always contains the baseline:
``S2B_MSIL2A_20260501T100000_N0511_R079_T31TFJ_20260501T150000`` (Sentinel-2 Products Specification, naming convention).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

PRODUCT_PROPERTIES = ("s2:product_uri", "sentinel:product_id", "s2:product_id")
"""Properties of different catalogs that hold the product name."""
#: Properties that hold the name of a part of a product.
_PART_PROPERTIES = ("s2:granule_id", "s2:datastrip_id", "title")
#: Properties that hold the baseline itself.
_BASELINE_PROPERTIES = ("s2:processing_baseline", "sentinel:processing_baseline")
#: STAC processing extension: the baseline in some catalogs, the version of their own software in others.
_VERSION_PROPERTY = "processing:version"
_BASELINE_IN_NAME = re.compile(r"S2[A-Z]_\w{0,80}_N(\d{2})\.?(\d{2})(?=[_./]|$)")
#: The baseline as producers write it, and as it remains where a catalog stored it as a number.
_AS_TEXT, _AS_NUMBER = re.compile(r"N?(\d{2})\.?(\d{2})"), re.compile(r"(\d)\.(\d{1,2})")
_SENSING_START = re.compile(r"_S(\d{8}T\d{6})(?=_|$)")
OFFSETS_SINCE = datetime(2022, 1, 25, tzinfo=UTC)
"""First day of baseline 04.00, the first one that adds a constant to all values."""
_OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no", ""})


def parse_baseline(properties: Mapping[str, Any], names: Iterable[str]) -> str:
    """Find the processing baseline, formatted as ``05.11``; empty where it is unknown.

    Parameters
    ----------
    names
        Further texts that may contain the product name: the item's id, links.
    """
    for name in _BASELINE_PROPERTIES:
        found = _normalize(properties.get(name), _AS_TEXT, _AS_NUMBER)
        if found:
            return found
    texts = [properties.get(name) for name in (*PRODUCT_PROPERTIES, *_PART_PROPERTIES)]
    for text in (*texts, *names):
        match = _BASELINE_IN_NAME.search(text) if isinstance(text, str) else None
        if match:
            return f"{match[1]}.{match[2]}"
    return _normalize(properties.get(_VERSION_PROPERTY), _AS_TEXT)


def _normalize(value: object, *forms: re.Pattern[str]) -> str:
    """Format ``N0511``, ``5.11`` or the number 5.1 (meaning 05.10) as ``05.11``; empty for anything else."""
    text = str(value).strip()
    match = next((found for form in forms if (found := form.fullmatch(text))), None)
    return f"{match[1]:0>2}.{match[2]:0<2}" if match else ""


def parse_datastrip(properties: Mapping[str, Any]) -> str:
    """Identify the datastrip of an item, the same for every reprocessing; empty where it is unknown.

    This is the sensing start time in the datastrip's id. Two datastrips may each hold a part of one tile.
    """
    given = properties.get("s2:datastrip_id")
    if not isinstance(given, str):
        return ""
    start = _SENSING_START.search(given)
    return start[1] if start else given


def is_offset_removed(properties: Mapping[str, Any]) -> bool:
    """Whether the catalog declares that it removed the producer's offset from the values.

    Raises
    ------
    ValueError
        A property that declares it is neither true nor false.
    """
    declared = {
        name: str(properties[name]).lower() for name in _OFFSET_APPLIED if properties.get(name) is not None
    }
    for name, value in declared.items():
        if value not in _TRUE | _FALSE:
            raise ValueError(f"{name} is {value!r}, neither true nor false")
    return any(value in _TRUE for value in declared.values())


def is_offset_unknown(properties: Mapping[str, Any], known_baseline: str, *moments: datetime | None) -> bool:
    """Whether it cannot be determined if the values contain the producer's offset.

    Parameters
    ----------
    known_baseline
        Result of :func:`parse_baseline`.
    moments
        Acquisition and, where known, processing times. No product from before :data:`OFFSETS_SINCE` has an offset, but
        archives are reprocessed, so a product may be younger than its pixels.
    """
    if known_baseline or is_offset_removed(properties):
        return False
    return any(moment is not None and moment >= OFFSETS_SINCE for moment in moments)
