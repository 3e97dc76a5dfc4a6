"""Public benchmarks in their own layouts, small ones made here, and their metrics against plain counting."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco
from typer.testing import CliRunner

from segwatch.flows.cli import app
from segwatch.model import metrics
from segwatch.model.errors import DatasetError
from segwatch.model.predictor import Prediction, Predictor
from segwatch.model.referring import score
from segwatch.model.referring.layouts import Dataset, load_samples
from segwatch.model.referring.samples import Mask, ReferringSample, decode_coco_mask, read_mask

SIDE = 24


def _mask(*box: int) -> Mask:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    top, left, bottom, right = box
    mask[top:bottom, left:right] = True
    return mask


ONE, TWO = _mask(2, 2, 10, 12), _mask(12, 4, 20, 23)


def _picture(path: Path, seed: int = 0, values: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) if values is None else values
    Image.fromarray(made).save(path)


def _coded(mask: Mask) -> dict[str, Any]:
    coded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": coded["size"], "counts": coded["counts"].decode()}


def _lasers(root: Path) -> None:
    entries = [
        {"id": 1, "image_name": "a.jpg", "description": "all lakes", "mask": [_coded(ONE), _coded(TWO)],
         "answer": "Sure, [SEG] and [SEG].", "granularity": "object"},
        {"id": 2, "image_name": "a.jpg", "description": "Where could a boat land?", "mask": [_coded(ONE)],
         "answer": "It is [SEG].", "granularity": "part"},
        {"id": 3, "image_name": "b.jpg", "description": "the airport", "mask": [],
         "answer": "There is no target object in the image.", "granularity": "object"},
    ]  # fmt: skip
    _write(root / "test/annotations/test.json", entries)
    for name in "ab":
        _picture(root / f"test/images/{name}.jpg")


def _earthreason(root: Path) -> None:
    folder = root / "RSReasonSeg" / "test"
    for index, answer in enumerate((["It is [SEG]."], [])):
        _picture(folder / f"images/{index:04d}.jpg", index)
        _picture(folder / f"labels/{index:04d}.png", values=(ONE * 255).astype(np.uint8))
        _write(folder / f"QAs/{index:04d}.json", {"questions": ["Where to swim?", "other"], "answer": answer})


def _refs() -> list[dict[str, Any]]:
    return [
        {"ref_id": 7, "ann_id": 70, "image_id": 700, "category_id": 1, "split": "test",
         "sentences": [{"raw": "The lake on the left", "sent": "the lake on the left"}]},
        {"ref_id": 8, "ann_id": 71, "image_id": 700, "category_id": 1, "split": "test",
         "sentences": [{"sent": "the lower lake"}]},
        {"ref_id": 9, "ann_id": 70, "image_id": 700, "category_id": 1, "split": "train",
         "sentences": [{"raw": "not asked", "sent": "not asked"}]},
    ]  # fmt: skip


def _instances() -> dict[str, Any]:
    polygon = [[4, 12, 23, 12, 23, 20, 4, 20]]
    return {
        "images": [{"id": 700, "file_name": "00001.jpg", "height": SIDE, "width": SIDE}],
        "annotations": [
            {"id": 70, "image_id": 700, "segmentation": [_coded(ONE)]},
            {"id": 71, "image_id": 700, "segmentation": polygon},
        ],
        "categories": [{"id": 1, "name": "lake"}],
    }


def _rrsis_d(root: Path) -> None:
    _write(root / "rrsisd/instances.json", _instances())
    (root / "rrsisd/refs(unc).p").write_bytes(pickle.dumps(_refs(), protocol=2))
    _picture(root / "images/rrsisd/JPEGImages/00001.jpg")


def _risbench(root: Path) -> None:
    _write(root / "instances.json", _instances())
    _write(root / "refs.json", _refs())
    _picture(root / "img/00001.jpg")


def _refsegrs(root: Path) -> None:
    _picture(root / "images/12.tif")
    _picture(root / "masks/12.tif", values=(TWO * 255).astype(np.uint8))
    (root / "output_phrase_test.txt").write_text("12 road\n\n12 low vegetation along the road\n")


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


LAYOUTS: dict[Dataset, tuple[Callable[[Path], None], list[tuple[str, list[Mask]]]]] = {
    Dataset.LASERS: (
        _lasers, [("all lakes", [ONE, TWO]), ("Where could a boat land?", [ONE]), ("the airport", [])]),
    Dataset.EARTHREASON: (_earthreason, [("Where to swim?", [ONE]), ("Where to swim?", [])]),
    Dataset.RRSIS_D: (_rrsis_d, [("The lake on the left", [ONE]), ("the lower lake", [TWO])]),
    Dataset.RISBENCH: (_risbench, [("The lake on the left", [ONE]), ("the lower lake", [TWO])]),
    Dataset.REFSEGRS: (_refsegrs, [("road", [TWO]), ("low vegetation along the road", [TWO])]),
}  # fmt: skip


@pytest.mark.parametrize("dataset", list(Dataset))
def test_every_layout_is_read_as_it_is_published(dataset: Dataset, tmp_path: Path) -> None:
    make, expected = LAYOUTS[dataset]
    make(tmp_path)
    found = load_samples(dataset, tmp_path, "test")
    assert [sample.instruction for sample in found] == [words for words, _ in expected]
    assert len({sample.name for sample in found}) == len(found)
    for sample, (_, masks) in zip(found, expected, strict=True):
        assert sample.image.exists()
        truth = sample.truth()
        assert len(truth) == len(masks)
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(truth, masks, strict=True))


def test_lasers_is_grouped_by_its_dimensions(tmp_path: Path) -> None:
    _lasers(tmp_path)
    groups = [dict(sample.groups) for sample in load_samples(Dataset.LASERS, tmp_path, "test")]
    assert groups == [
        {"granularity": "object", "targets": "several", "form": "statement"},
        {"granularity": "part", "targets": "one", "form": "question"},
        {"granularity": "object", "targets": "none", "form": "statement"},
    ]


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


def test_a_pickle_with_more_than_plain_data_is_refused(tmp_path: Path) -> None:
    _rrsis_d(tmp_path)
    marker = tmp_path / "ran"
    (tmp_path / "rrsisd/refs(unc).p").write_bytes(pickle.dumps([_Payload(marker)]))
    with pytest.raises(DatasetError, match="only plain data is read"):
        load_samples(Dataset.RRSIS_D, tmp_path, "test")
    assert not marker.exists()


def test_other_layouts_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        load_samples(Dataset.LASERS, tmp_path / "nowhere", "test")
    for dataset in Dataset:
        with pytest.raises(DatasetError):
            load_samples(dataset, tmp_path, "test")
    _write(tmp_path / "test/annotations/x.json", [{"id": 1, "description": "a", "image_name": "a.jpg"}])
    with pytest.raises(DatasetError, match="truth of this split is not public"):
        load_samples(Dataset.LASERS, tmp_path, "test")
    outside = {"id": 1, "description": "a", "answer": "", "mask": [], "image_name": "../../etc/passwd"}
    _write(tmp_path / "test/annotations/x.json", [outside])
    with pytest.raises(DatasetError, match="points outside"):
        load_samples(Dataset.LASERS, tmp_path, "test")
    _write(tmp_path / "test/annotations/x.json", {"id": 1})
    with pytest.raises(DatasetError, match="not laid out as lasers"):
        load_samples(Dataset.LASERS, tmp_path, "test")
    _refsegrs(tmp_path)
    (tmp_path / "output_phrase_test.txt").write_text("road 12\n")
    with pytest.raises(DatasetError, match=r"test\.txt:1: 'road 12' is not"):
        load_samples(Dataset.REFSEGRS, tmp_path, "test")


def test_every_form_of_coco_mask_is_read() -> None:
    plain = {"size": [SIDE, SIDE], "counts": _plain_counts(ONE)}
    assert np.array_equal(decode_coco_mask(plain, SIDE, SIDE), ONE)
    assert np.array_equal(decode_coco_mask([_coded(ONE), _coded(TWO)], SIDE, SIDE), ONE | TWO)
    assert not decode_coco_mask([], SIDE, SIDE).any()
    for broken in ("x", {"size": [1, 1]}, [[1]], 3):
        with pytest.raises(DatasetError):
            decode_coco_mask(broken, SIDE, SIDE)
    with pytest.raises(DatasetError, match="its image"):
        decode_coco_mask(_coded(ONE), SIDE, SIDE + 1)


def _plain_counts(mask: Mask) -> list[int]:
    counts, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(0)
            value = bool(pixel)
        counts[-1] += 1
    return counts


@dataclass
class _Oracle:
    """Answers with given masks; what is measured here is the measuring."""

    found: dict[str, list[Mask]]
    asked: list[tuple[int, int]]
    tile_px = SIDE

    def segment(self, images: list[Any], instructions: list[str], *, in_view: bool) -> list[list[Prediction]]:
        assert in_view
        self.asked.append((len(images), len(instructions)))
        return [
            [
                Prediction("said", np.array([np.where(mask, 1, -1) for mask in self.found[words]],
                                        np.float32).reshape(-1, SIDE, SIDE))
                for words in instructions
            ]
            for _ in images
        ]  # fmt: skip


def test_scores_of_a_hand_computed_case(tmp_path: Path) -> None:
    _lasers(tmp_path)
    half = _mask(2, 2, 6, 12)  # half of ONE
    found = {"all lakes": [TWO, ONE], "Where could a boat land?": [half], "the airport": []}
    oracle = _Oracle(found, [])
    scores = score.score_samples(
        oracle,  # type: ignore[arg-type]
        load_samples(Dataset.LASERS, tmp_path, "test"),
        overlays=tmp_path / "worst",
        worst=1,
    )
    assert oracle.asked == [(1, 2), (1, 1)], "the instructions of an image are asked together"
    table = score.summarise_by_group(scores.records)
    # in order: lakes 0 and 0, boat 0.5, airport 1; best order: 1, 1, 0.5, 1
    assert table["all"]["gIoU"] == pytest.approx(1.5 / 4)
    assert table["all"]["matched"]["gIoU"] == pytest.approx(3.5 / 4)
    union = 2 * (ONE | TWO).sum() + ONE.sum()
    assert table["all"]["cIoU"] == pytest.approx(half.sum() / union)
    assert table["all"]["Pr@0.5"] == pytest.approx(2 / 4)
    assert table["all"]["Pr@0.6"] == pytest.approx(1 / 4)
    assert table["granularity: part"]["gIoU"] == pytest.approx(0.5)
    assert table["targets: none"]["gIoU"] == 1.0
    assert table["form: question"]["instructions"] == 1
    pictures = sorted((tmp_path / "worst").iterdir())
    assert [path.name for path in pictures] == ["test_1.png"]
    drawn = np.asarray(Image.open(pictures[0])).astype(int)
    assert (drawn[ONE | TWO][:, 1] > drawn[ONE | TWO][:, 0]).all(), "found and true is green"


def test_images_of_all_sizes_weigh_the_same(tmp_path: Path) -> None:
    """A small correct image and a half-correct one of 16 times its side give 0.75, as in the published evaluation."""
    half = np.zeros((SIDE, SIDE), np.bool_)
    half[: SIDE // 2] = True
    shown = []
    for name, times in (("small", 1), ("large", 16)):
        _picture(tmp_path / f"{name}.png", values=np.zeros((SIDE * times, SIDE * times, 3), np.uint8))
        whole = np.ones((SIDE * times, SIDE * times), np.bool_)
        shown.append(ReferringSample(name, tmp_path / f"{name}.png", name, lambda whole=whole: [whole]))  # type: ignore[misc]
    oracle = _Oracle({"small": [np.ones((SIDE, SIDE), np.bool_)], "large": [half]}, [])
    scores = score.score_samples(oracle, shown)  # type: ignore[arg-type]
    assert score.summarise_by_group(scores.records)["all"]["cIoU"] == pytest.approx(0.75)


def test_unreadable_samples_are_recorded_and_the_rest_is_scored(tmp_path: Path) -> None:
    _lasers(tmp_path)
    (tmp_path / "test/images/a.jpg").write_bytes(b"not a picture")
    scores = score.score_samples(
        _Oracle({"the airport": [ONE]}, []),  # type: ignore[arg-type]
        load_samples(Dataset.LASERS, tmp_path, "test"),
    )
    assert [failure.name for failure in scores.failures] == ["test/1", "test/2"]
    assert all("not a readable picture" in failure.reason for failure in scores.failures)
    assert [(record.iou, record.masks) for record in scores.records] == [(0.0, 1)]


def test_the_command_measures_and_writes(tmp_path: Path) -> None:
    _refsegrs(tmp_path / "data")
    result = CliRunner().invoke(
        app,
        ["model", "eval", "--dataset", "refsegrs", "--root", str(tmp_path / "data"), "--out",
         str(tmp_path / "out"), "--worst", "1", "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    stored = json.loads((tmp_path / "out/results.json").read_text())
    assert shown["results"] == stored["results"]
    assert stored["model"] == Predictor.load(None, "cpu").version
    assert [record["name"] for record in stored["records"]] == ["1/12", "3/12"]
    rows = (tmp_path / "out/results.md").read_text().splitlines()
    (shown_row,) = [row for row in rows if row.startswith("| all ")]
    assert shown_row.startswith(f"| all | 2 | 2 | {stored['results']['all']['gIoU']:.4f} |")
    assert shown_row.endswith("| 0.748 |  |"), "the paper's gIoU on RefSegRS; its cIoU is not known here"
    assert "2512.20013" in rows[-1]
    assert len(list((tmp_path / "out/worst").glob("*.png"))) == 1
    wrong = CliRunner().invoke(app, ["model", "eval", "--dataset", "coco", "--root", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "use one of lasers" in " ".join(wrong.output.split())


def test_published_figures_appear_beside_their_groups(tmp_path: Path) -> None:
    _lasers(tmp_path)
    made = [
        score.score_prediction(sample, sample.truth(), sample.truth(), "")
        for sample in load_samples(Dataset.LASERS, tmp_path, "test")
    ]
    scores = score.Scores(tuple(made), ())
    table = score.format_markdown(score.build_report(scores, dataset="lasers", split="test", model="m"))
    quoted = {
        row.split(" | ")[0][2:]: row.split(" | ")[-2:] for row in table.splitlines() if row.startswith("|")
    }
    assert quoted["all"] == ["0.572", "0.679 |"]
    assert quoted["targets: several"] == ["0.383", "0.562 |"]
    assert quoted["granularity: part"] == ["0.648", "0.683 |"]
    assert quoted["form: question"] == ["", " |"]
    alone = score.format_markdown(score.build_report(scores, dataset="lasers", split="train", model="m"))
    assert "paper" not in alone


_masks = st.lists(arrays(np.bool_, (4, 5)), min_size=0, max_size=4)


@given(_masks, _masks)
@settings(max_examples=150, deadline=None)
def test_metrics_equal_an_independent_count(truth: list[Mask], found: list[Mask]) -> None:
    """Pixel by pixel, in plain Python sets."""
    record = score.score_prediction(ReferringSample("x", Path("x"), "x", lambda: truth), truth, found, "")

    def pixels(mask: Mask) -> set[tuple[int, int]]:
        return {(row, col) for row in range(4) for col in range(5) if mask[row, col]}

    expected = []
    if truth:
        for index, true in enumerate(truth):
            mine = pixels(found[min(index, len(found) - 1)]) if found else set()
            expected.append((len(mine & pixels(true)), len(mine | pixels(true))))
    else:
        expected.append((0, len(set().union(*map(pixels, found)))))
    assert [(part.intersection, part.union) for part in record.in_order] == expected
    ious = [1.0 if union == 0 else inter / union for inter, union in expected]
    table = score.summarise_by_group([record])["all"]
    assert table["gIoU"] == pytest.approx(sum(ious) / len(ious))
    union = sum(part[1] for part in expected)
    assert table["cIoU"] == pytest.approx(1.0 if union == 0 else sum(p[0] for p in expected) / union)
    for threshold in metrics.THRESHOLDS:
        share = sum(value >= threshold for value in ious) / len(ious)
        assert table[f"Pr@{threshold}"] == pytest.approx(share)
    if len(found) >= len(truth):
        assert table["matched"]["gIoU"] >= table["gIoU"] - 1e-12


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1"])
def test_a_mask_ignores_transparency(tmp_path: Path, mode: str) -> None:
    marked = np.zeros((8, 8), np.uint8)
    marked[2:4, 2:4] = 255
    Image.fromarray(marked).convert(mode).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), marked > 0)
