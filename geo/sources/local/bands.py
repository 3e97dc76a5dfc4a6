"""Infer which bands of a file are red, green and blue, and which are infrared. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rasterio.enums import ColorInterp

from segwatch.geo.errors import BadBands

#: Spectral bands of a profile that may be beside the rendered ones, in the order of --bands.
FURTHER = ("nir", "swir1", "swir2")
_RGB = ("red", "green", "blue")
_WORDS = {
    "red": ("red", "r", "b04", "sr_b4"),
    "green": ("green", "g", "b03", "sr_b3"),
    "blue": ("blue", "b", "b02", "sr_b2"),
    "nir": ("nir", "nir1", "near infrared", "near-infrared", "n", "b08", "sr_b5"),
    "swir1": ("swir1", "swir 1", "swir_1", "swir16", "b11", "sr_b6"),
    "swir2": ("swir2", "swir 2", "swir_2", "swir22", "b12", "sr_b7"),
}
_MEANINGS = {word: meaning for meaning, words in _WORDS.items() for word in words}
_COLOURS = {
    ColorInterp.red: "red",
    ColorInterp.green: "green",
    ColorInterp.blue: "blue",
    ColorInterp.nir: "nir",
}
_PRODUCT_BAND = re.compile(
    r"(?:^|_)((?:SR_|ST_)?B\d{1,2}A?|BQA|QA_[A-Z]+|SCL|AOT|WVP)(?:_\d+m)?\.(?:tiff?|jp2)$", re.IGNORECASE
)
#: Order of the bands in products that declare none: by family of names and number of bands.
_FAMILIES = (
    ("Planet", re.compile(r"_(?:3B|3A|1B)_|AnalyticMS|_SR(?:_|$)", re.IGNORECASE), (4, 8)),
    ("Maxar", re.compile(r"-[MS]\dBS|WorldView|WV0[1234]|GE01|QB02", re.IGNORECASE), (4, 8)),
)
_BY_FAMILY: Mapping[tuple[str, int], Mapping[str, int]] = {
    ("Planet", 4): {"blue": 1, "green": 2, "red": 3, "nir": 4},
    # coastal blue, blue, green I, green, yellow, red, red edge, near infrared
    ("Planet", 8): {"blue": 2, "green": 4, "red": 6, "nir": 8},
    ("Maxar", 4): {"blue": 1, "green": 2, "red": 3, "nir": 4},
    # coastal, blue, green, yellow, red, red edge, near infrared 1 and 2
    ("Maxar", 8): {"blue": 2, "green": 3, "red": 5, "nir": 7},
}
#: The usual order of files with so many bands.
_BY_COUNT: Mapping[int, tuple[str, Mapping[str, int]]] = {
    1: ("grey", {"red": 1, "green": 1, "blue": 1}),
    2: ("grey", {"red": 1, "green": 1, "blue": 1}),
    3: ("red, green, blue", {"red": 1, "green": 2, "blue": 3}),
    4: ("red, green, blue, near infrared", {"red": 1, "green": 2, "blue": 3, "nir": 4}),
    5: ("MicaSense", {"blue": 1, "green": 2, "red": 3, "nir": 4}),
    6: ("Landsat or HLS", {"blue": 1, "green": 2, "red": 3, "nir": 4, "swir1": 5, "swir2": 6}),
    7: ("Landsat 8 B1 to B7", {"blue": 2, "green": 3, "red": 4, "nir": 5, "swir1": 6, "swir2": 7}),
    8: ("WorldView", {"blue": 2, "green": 3, "red": 5, "nir": 7}),
    10: (
        "Sentinel-2 of 10 and 20 m",
        {"blue": 1, "green": 2, "red": 3, "nir": 7, "swir1": 9, "swir2": 10},
    ),
    12: ("Sentinel-2 L2A", {"blue": 2, "green": 3, "red": 4, "nir": 8, "swir1": 11, "swir2": 12}),
    13: ("Sentinel-2 L1C", {"blue": 2, "green": 3, "red": 4, "nir": 8, "swir1": 12, "swir2": 13}),
}


@dataclass(frozen=True, slots=True)
class BandMeaning:
    """Which band of a file is what, as 1-based numbers."""

    red: int
    green: int
    blue: int
    further: tuple[tuple[str, int], ...] = ()
    """Spectral bands besides: (``nir``, ``swir1`` or ``swir2``; number)."""
    how: str = ""
    """What says so."""
    product: str = ""
    """Product whose bands are files of their own, each the first band of its file; empty = they are in one file."""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Numbers of red, green and blue."""
        return self.red, self.green, self.blue

    @property
    def text(self) -> str:
        """As people read it."""
        if self.product:
            return f"{self.product}, a file each"
        if self.red == self.green == self.blue:
            return f"grey {self.red}"
        more = "".join(f" {name.upper()} {number}" for name, number in self.further)
        return f"R {self.red} G {self.green} B {self.blue}{more}"


def find_product_band(name: str) -> str | None:
    """Find the band in the name of a file that is one band of a Sentinel-2 or Landsat product, such as ``B04``."""
    found = _PRODUCT_BAND.search(name)
    return found.group(1) if found else None


def parse_bands(text: str) -> BandMeaning:
    """Parse what a user wrote: ``R,G,B`` or ``R,G,B,NIR,SWIR1,SWIR2`` as numbers from 1; one number is grey.

    Raises
    ------
    BadBands
        It is something else.
    """
    try:
        numbers = [int(one) for one in text.split(",")]
    except ValueError as error:
        raise BadBands(text) from error
    if len(numbers) == 1:
        numbers = numbers * 3
    if not 3 <= len(numbers) <= 3 + len(FURTHER) or min(numbers) < 1:
        raise BadBands(text)
    red, green, blue, *more = numbers
    return BandMeaning(red, green, blue, tuple(zip(FURTHER, more, strict=False)), "--bands")


def infer_bands(name: str, colours: Sequence[ColorInterp], descriptions: Sequence[str | None]) -> BandMeaning:
    """Infer the meaning of a file's bands from descriptions, then its name, then colours, then their number.

    Parameters
    ----------
    name
        Name of the file.
    colours, descriptions
        One for each band.
    """
    values = [number for number, one in enumerate(colours, 1) if one is not ColorInterp.alpha]
    described = _match({number: descriptions[number - 1] or "" for number in values})
    if described is not None:
        return _build(described, "descriptions of the bands")
    for family, pattern, counts in _FAMILIES:
        if pattern.search(name) and len(values) in counts:
            return _build(_BY_FAMILY[family, len(values)], f"{family} name")
    coloured = {_COLOURS[one]: number for number, one in enumerate(colours, 1) if one in _COLOURS}
    if set(_RGB) <= coloured.keys():
        if len(values) == 4 and "nir" not in coloured:
            coloured["nir"] = next(one for one in values if one not in coloured.values())
        return _build(coloured, "colours of the bands")
    how, meaning = _BY_COUNT.get(len(values), ("the first three bands", _BY_COUNT[3][1]))
    return _build({key: values[number - 1] for key, number in meaning.items()}, f"{len(values)} bands: {how}")


def _match(described: Mapping[int, str]) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for number, text in described.items():
        meaning = _MEANINGS.get(text.strip().lower().partition(" (")[0])
        if meaning is not None:
            found.setdefault(meaning, number)
    return found if set(_RGB) <= found.keys() else None


def _build(found: Mapping[str, int], how: str) -> BandMeaning:
    further = tuple((name, found[name]) for name in FURTHER if name in found)
    return BandMeaning(found["red"], found["green"], found["blue"], further, how)
