"""Read the official layouts of LaSeRS, EarthReason, RRSIS-D, RISBench and RefSegRS.

Nothing in a data set is executed: the pickle in REFER layouts is read by a reader that builds only plain containers,
strings and numbers.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from segwatch.model import prompt
from segwatch.model.errors import DatasetError
from segwatch.model.referring.samples import (
    Mask,
    ReferringSample,
    decode_coco_mask,
    read_json,
    read_mask,
    resolve_inside,
)

_PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
_LASERS_DIMENSIONS = ("granularity", "multiplicity", "reasoning", "language")


class Dataset(StrEnum):
    """Data sets by their name on the command line."""

    LASERS = "lasers"
    EARTHREASON = "earthreason"
    RRSIS_D = "rrsis-d"
    RISBENCH = "risbench"
    REFSEGRS = "refsegrs"


def load_samples(dataset: Dataset, root: Path, split: str) -> list[ReferringSample]:
    """Load all samples of a split.

    Parameters
    ----------
    dataset
        Which layout.
    root
        The data set's own folder.
    split
        As the data set names it, such as "test".

    Raises
    ------
    DatasetError
        If the folder has another layout, or the split no samples.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; give the folder that the data set was unpacked into")
    readers: dict[Dataset, Callable[[Path, str], Iterator[ReferringSample]]] = {
        Dataset.LASERS: _lasers,
        Dataset.EARTHREASON: _earthreason,
        Dataset.RRSIS_D: _refer,
        Dataset.RISBENCH: _refer,
        Dataset.REFSEGRS: _refsegrs,
    }
    try:
        found = list(readers[dataset](root, split))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise DatasetError(f"{root}: not laid out as {dataset} is ({error!r})") from error
    if not found:
        raise DatasetError(f"{root}: no samples in split {split!r} of {dataset}")
    return found


def _lasers(root: Path, split: str) -> Iterator[ReferringSample]:
    """Read ``{split}/images`` and ``{split}/annotations/*.json``, masks as COCO run lengths."""
    files = sorted((root / split / "annotations").glob("*.json"))
    for file in files:
        for entry in read_json(file):
            if "mask" not in entry:
                raise DatasetError(
                    f"{file}: {entry['id']} has no masks; the truth of this split is not public"
                )
            coded = list(entry["mask"])
            words = str(entry["description"]).strip()
            given = {name: str(entry[name]) for name in _LASERS_DIMENSIONS if name in entry}
            derived = {
                "targets": ("none", "one")[len(coded)] if len(coded) < 2 else "several",
                "form": "question" if words.endswith("?") else "statement",
            }
            by_file = {"annotation file": file.stem} if len(files) > 1 else {}
            yield ReferringSample(
                name=f"{file.stem}/{entry['id']}",
                image=resolve_inside(root / split / "images", entry["image_name"]),
                instruction=words,
                truth=partial(_run_lengths, coded, str(entry["answer"]).count(prompt.SEG)),
                answer=str(entry["answer"]).strip(),
                groups={**by_file, **derived, **given},
            )


def _run_lengths(coded: Sequence[Any], expected: int) -> list[Mask]:
    if len(coded) != expected:
        raise DatasetError(f"{len(coded)} masks for {expected} {prompt.SEG} in the answer")
    try:
        return [decode_coco_mask(part, *map(int, part["size"])) for part in coded]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"not a COCO mask ({error!r})") from error


def _earthreason(root: Path, split: str) -> Iterator[ReferringSample]:
    """Read ``{split}/images``, ``labels`` and ``QAs``; a sample's three files have the same rank in sorted order."""
    folder = next((path for path in (root / split, root / "RSReasonSeg" / split) if path.is_dir()), None)
    if folder is None:
        raise DatasetError(f"{root}: no folder {split}")
    images, labels, questions_files = (
        _list_files(folder / name, suffixes)
        for name, suffixes in (("images", _PICTURES), ("labels", (".png",)), ("QAs", (".json", ".txt")))
    )
    if not len(images) == len(labels) == len(questions_files):
        raise DatasetError(
            f"{folder}: {len(images)} images, {len(labels)} labels and {len(questions_files)} QAs do not pair up"
        )
    for image, label, questions in zip(images, labels, questions_files, strict=True):
        record = read_json(questions)
        nothing = not record.get("answer")
        yield ReferringSample(
            name=image.stem,
            image=image,
            instruction=str(record["questions"][0]).strip(),
            truth=partial(_no_masks if nothing else _one_mask, label),
            answer=prompt.NOTHING if nothing else f"Sure, it is {prompt.SEG}. {record['answer'][0]}".strip(),
            groups={"targets": "none" if nothing else "one"},
        )


def _refsegrs(root: Path, split: str) -> Iterator[ReferringSample]:
    """Read ``images``, ``masks`` and ``output_phrase_{split}.txt`` with an image number and a phrase per line."""
    listing = root / f"output_phrase_{split}.txt"
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"{listing}: not readable ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(\d+)\s+(.+)", line.strip())
        if match is None:
            raise DatasetError(f"{listing}:{number}: {line!r} is not an image number and a phrase")
        yield ReferringSample(
            name=f"{number}/{match[1]}",
            image=root / "images" / f"{match[1]}.tif",
            instruction=match[2],
            truth=partial(_one_mask, root / "masks" / f"{match[1]}.tif"),
        )


def _refer(root: Path, split: str) -> Iterator[ReferringSample]:
    """Read REFER's layout: references to COCO annotations, as a pickle or as JSON.

    As in the published evaluation, the first sentence of each reference is used.
    """
    folder = _find_file(root, ("instances.json",)).parent
    instances = read_json(folder / "instances.json")
    references = _find_file(folder, ("refs(unc).p", "refs.p", "refs.json", "refs(unc).json"))
    refs = read_json(references) if references.suffix == ".json" else _read_plain_pickle(references)
    images = {entry["id"]: entry for entry in instances["images"]}
    annotations = {entry["id"]: entry for entry in instances["annotations"]}
    categories = {entry["id"]: str(entry["name"]) for entry in instances.get("categories", [])}
    pictures = {path.name: path for path in sorted(root.rglob("*")) if path.suffix.lower() in _PICTURES}
    for ref in refs:
        if ref["split"] != split:
            continue
        image, annotation = images[ref["image_id"]], annotations[ref["ann_id"]]
        sentence = ref["sentences"][0]
        name = Path(str(image["file_name"])).name
        yield ReferringSample(
            name=str(ref["ref_id"]),
            image=pictures.get(name, root / name),
            instruction=str(sentence.get("raw") or sentence["sent"]).strip(),
            truth=partial(_coco, annotation["segmentation"], int(image["height"]), int(image["width"])),
            groups={"category": categories[ref["category_id"]]} if categories else {},
        )


def _one_mask(path: Path) -> list[Mask]:
    return [read_mask(path)]


def _no_masks(path: Path) -> list[Mask]:
    return []


def _coco(segmentation: Any, height: int, width: int) -> list[Mask]:
    return [decode_coco_mask(segmentation, height, width)]


def _list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _find_file(root: Path, names: tuple[str, ...]) -> Path:
    """Find the first file of one of these names, at any depth."""
    for name in names:
        if found := sorted(path for path in root.rglob("*") if path.name == name):
            return found[0]
    raise DatasetError(f"{root}: no {' or '.join(names)} anywhere below")


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles containers, strings and numbers; refuses every name of a class or function."""

    def find_class(self, module: str, name: str) -> Any:
        raise DatasetError(f"the pickle asks for {module}.{name}; only plain data is read from it")


def _read_plain_pickle(path: Path) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, IndexError) as error:
        raise DatasetError(f"{path}: not a readable pickle of plain data ({error})") from error
