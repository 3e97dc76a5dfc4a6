"""``python -m segwatch.model.train.archive``: pack the labelled sets into one file that can be copied to a GPU machine.

The file is a zip archive of ``index.json``, a JPEG for each picture and a PNG for each label map. Pictures keep the
resolution at which training reads them; JPEG changes them less than training's own augmentation.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwatch.model.errors import DatasetError
from segwatch.model.train.labelled_sample import LabelledPicture, Labels, Rgb

_log = logging.getLogger(__name__)

_INDEX = "index.json"
_FORMAT = "segwatch-labelled/1"
_QUALITY = 90
_MAX_PIXELS = 4096 * 4096  # maximum pixels of a picture
#: Decompressed bytes of a file of the archive; some bytes of a zip archive may expand to gigabytes.
_MAX_BYTES = 64 << 20


def write_archive(samples: Iterable[LabelledPicture], file: Path) -> int:
    """Write an archive, whole or not at all.

    Parameters
    ----------
    samples
        Pictures of every split; a picture's place decides its split.
    file
        The archive.

    Returns
    -------
    int
        Its size, bytes.
    """
    partial = file.with_name(file.name + ".partial")
    entries: list[dict[str, Any]] = []
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for number, sample in enumerate(samples):
            archive.writestr(f"{number}.jpg", _encode(sample.rgb, "JPEG", quality=_QUALITY, subsampling=0))
            for name, label in sample.labels.items():
                archive.writestr(
                    f"{number}.{name}.png", _encode((label + 1).astype(np.uint8), "PNG", optimize=True)
                )
            entries.append(
                {
                    "source": sample.source,
                    "place": sample.place,
                    "gsd_m": sample.gsd_m,
                    "labels": sorted(sample.labels),
                    "absent": list(sample.absent),
                }
            )
        archive.writestr(_INDEX, json.dumps({"format": _FORMAT, "samples": entries}))
    partial.replace(file)
    return file.stat().st_size


def read_archive(file: Path) -> Iterator[LabelledPicture]:
    """Read the samples of an archive.

    Raises
    ------
    DatasetError
        If the file is not such an archive, or a picture in it is damaged or too large.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            index = json.loads(_read(archive, _INDEX))
            if index.get("format") != _FORMAT:
                raise DatasetError(f"{file}: format is {index.get('format')!r}, expected {_FORMAT!r}")
            for number, entry in enumerate(index["samples"]):
                yield _read_sample(archive, number, entry)
    except (
        *(OSError, zipfile.BadZipFile, zlib.error, EOFError),
        *(ValueError, KeyError, TypeError, AttributeError, RecursionError),
        # encrypted or compressed in an unknown way; a picture with far more pixels than are read
        *(RuntimeError, NotImplementedError, SyntaxError, Image.DecompressionBombError),
    ) as error:
        raise DatasetError(
            f"{file}: not a readable archive of labelled sets ({error}); pack it again"
        ) from error


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{name} has more than {_MAX_BYTES >> 20} MiB")
    return content


def _read_sample(archive: zipfile.ZipFile, number: int, entry: dict[str, Any]) -> LabelledPicture:
    rgb: Rgb = _decode(_read(archive, f"{number}.jpg"), "RGB")
    labels: dict[str, Labels] = {
        str(name): (_decode(_read(archive, f"{number}.{name}.png"), "L").astype(np.int8) - 1).astype(np.int8)
        for name in entry["labels"]
    }
    if other := [name for name, label in labels.items() if label.shape != rgb.shape[:2]]:
        raise ValueError(f"labels {', '.join(other)} of picture {number} have another size than the picture")
    return LabelledPicture(
        str(entry["source"]),
        str(entry["place"]),
        float(entry["gsd_m"]),
        rgb,
        labels,
        tuple(str(name) for name in entry["absent"]),
    )


def _encode(array: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def _decode(content: bytes, mode: str) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(content))
    if image.width * image.height > _MAX_PIXELS:
        raise ValueError(
            f"a picture of {image.width} x {image.height} pixels is larger than {_MAX_PIXELS} pixels"
        )
    return np.array(image.convert(mode))


def main(arguments: list[str] | None = None) -> None:
    """Pack the labelled sets into one file, which ``data.root`` of a recipe may name instead of their folder."""
    from segwatch.model.train import labelled_sets

    parser = argparse.ArgumentParser(prog="python -m segwatch.model.train.archive", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    parser.add_argument("--out", type=Path, required=True, help="the archive")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    size = write_archive(labelled_sets.load_all(options.data), options.out)
    _log.info("%s: %.1f MiB", options.out, size / 2**20)


if __name__ == "__main__":
    main()
