"""Images whose bands are files of their own, and masks beside images: find which files belong together. Pure.

Bands are recognised surely or not at all: by the names of Landsat products, whose first letters tell the sensor, and by
``B02``, ``B03`` and ``B04`` side by side, which are blue, green and red of Sentinel-2.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from segwatch.geo.sources.local.scanning import FoundFile
from segwatch.geo.types.source import BandRef, CloudMask

RGB = ("red", "green", "blue")
"""Assets of an image whose bands are files of their own."""
MASK = "mask"
"""Asset of the mask of an image."""
#: Scene classification: 1 saturated or defective, 3 shadow, 8 and 9 cloud, 10 cirrus; 0 no data.
_SCENE_CLASSES = CloudMask(BandRef(MASK), unclear_values=(1, 3, 8, 9, 10), invalid_values=(0,))
#: QA_PIXEL: 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 cloud shadow.
_PIXEL_QUALITY = CloudMask(BandRef(MASK), unclear_bits=(0, 1, 2, 3, 4))
_PART = re.compile(
    r"(?:(?P<stem>.+?)_)??(?P<band>(?:SR_)?B\d{1,2}A?|SCL|QA_PIXEL)(?:_(?P<metres>\d+)m)?\.(?:tiff?|jp2)",
    re.IGNORECASE,
)
_RESOLUTION_FOLDER = re.compile(r"(?:^|/)R\d+m$", re.IGNORECASE)
_SIDE_MASK = re.compile(r"(?P<stem>.+)_mask\.(?:tiff?|jp2)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    stems: re.Pattern[str]
    bands: tuple[str, str, str]
    """Red, green and blue."""
    mask: str
    meaning: CloudMask


_FAMILIES = (
    _Family("Landsat 8/9", re.compile(r"L[CO]0?[89]", re.IGNORECASE), ("B4", "B3", "B2"), "QA_PIXEL", _PIXEL_QUALITY),
    _Family("Landsat 4-7", re.compile(r"L[TE]0?[4-7]", re.IGNORECASE), ("B3", "B2", "B1"), "QA_PIXEL", _PIXEL_QUALITY),
    _Family("Sentinel-2", re.compile(r"(?!L[COTEM]\d)"), ("B04", "B03", "B02"), "SCL", _SCENE_CLASSES),
)  # fmt: skip


def group_files(found: Sequence[FoundFile], masked: CloudMask | None) -> list[FoundFile]:
    """Put the files of one image together: the file of its red band, with the others as its parts.

    Files that belong to no image surely stay as they are; a mask whose meaning nobody gave gets a reason.

    Parameters
    ----------
    masked
        Meaning of files ``NAME_mask.tif`` beside ``NAME.tif``, if the user said it.
    """
    kept, used = [], set[str]()
    for (_, stem), files in _collect_products(found).items():
        made = _make_image(stem, _choose_finest(files))
        if made is not None:
            kept.append(made)
            # its other bands and resolutions are no images of their own
            used |= {one.key for _, _, one in files}
    kept += _add_side_masks([one for one in found if one.key not in used], masked)
    return sorted(kept, key=lambda one: (one.root.label, one.below))


def _collect_products(found: Sequence[FoundFile]) -> dict[tuple[str, str], list[tuple[str, int, FoundFile]]]:
    """Collect files by folder and name without the band: band, pixel size in its name (0: none) and file."""
    files: dict[tuple[str, str], list[tuple[str, int, FoundFile]]] = defaultdict(list)
    for one in found:
        path = PurePosixPath(one.below or one.root.path.name)
        match = _PART.fullmatch(path.name)
        if match is None or one.reason:
            continue
        folder = _RESOLUTION_FOLDER.sub("", "" if str(path.parent) == "." else str(path.parent))
        # single files are roots of their own; what they have in common is the folder that they lie in
        place = f"{one.root.label}/{folder}" if one.below else str(one.root.path.parent)
        band = match["band"].upper().removeprefix("SR_")
        files[place, match["stem"] or ""].append((band, int(match["metres"] or 0), one))
    return files


def _choose_finest(files: Sequence[tuple[str, int, FoundFile]]) -> dict[str, FoundFile]:
    """Choose the file with the finest pixels for each band."""
    coarsest_first = sorted(files, key=lambda one: -one[1])
    return {band: one for band, _, one in coarsest_first}


def _make_image(stem: str, parts: Mapping[str, FoundFile]) -> FoundFile | None:
    for family in _FAMILIES:
        if family.stems.match(stem) and parts.keys() >= set(family.bands):
            files = tuple((meaning, parts[band]) for meaning, band in zip(RGB, family.bands, strict=True))
            mask = parts.get(family.mask)
            return replace(
                files[0][1],
                parts=files if mask is None else (*files, (MASK, mask)),
                mask=None if mask is None else family.meaning,
                product=family.name,
                name=stem or PurePosixPath(files[0][1].below).parent.name or files[0][1].path.parent.name,
            )
    return None


def _add_side_masks(found: Sequence[FoundFile], masked: CloudMask | None) -> list[FoundFile]:
    by_stem = {one.key.rpartition(".")[0].lower(): one for one in found}
    masks: dict[str, FoundFile] = {}
    kept: list[FoundFile] = []
    for one in found:
        match = _SIDE_MASK.fullmatch(one.key)
        image = None if match is None else by_stem.get(match["stem"].lower())
        if image is None:
            kept.append(one)
        elif masked is None:
            words = (
                f"it is named like a mask of {image.path.name}; give --mask with the values that hide pixels, such as "
                "--mask 0, or --mask none to leave such files out"
            )
            kept.append(replace(one, reason=words))
        else:
            masks[image.key] = one
    if masked is None or not (masked.unclear_values or masked.invalid_values):
        return kept
    return [
        one if one.key not in masks else replace(one, parts=((MASK, masks[one.key]),), mask=masked)
        for one in kept
    ]


def parse_mask(text: str) -> CloudMask:
    """Parse what a user wrote of masks beside images: the values that hide pixels, or ``none`` to leave masks out.

    Raises
    ------
    ValueError
        It is neither.
    """
    if text.strip().lower() == "none":
        return CloudMask(BandRef(MASK))
    return CloudMask(BandRef(MASK), unclear_values=tuple(int(one) for one in text.split(",")))
