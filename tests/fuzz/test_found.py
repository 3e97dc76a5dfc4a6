"""What fuzzing found once: documents that raised errors of others, or that cost too much, are refused in words."""

from __future__ import annotations

import base64
import io
import json
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
from shapely.geometry import Point

from segwatch.db.errors import LabelRefused
from segwatch.flows.assessment.exchange import read_labels
from segwatch.model.config import FORMAT
from tests.fuzz.damaging import write_json
from tests.fuzz.parsers import PARSERS

#: GDAL warns of what it reads all the same.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

_BY_NAME = {one.name: one for one in PARSERS}
_LONG_NUMBER, _DEEP = b"a = " + b"9" * 5000, b"a = " + b"[" * 5000
_TOKEN: dict[str, Any] = {"watch": "w", "layer": "l", "bbox": None, "area": None, "series": []}
_ID = "00000000-0000-0000-0000-000000000001"


def _pack(**more: Any) -> str:
    packed = zlib.compress(json.dumps(_TOKEN | more).encode())
    return "sw1." + base64.urlsafe_b64encode(packed).decode()


def _announce(**more: Any) -> bytes:
    item = {"type": "Feature", "id": "a", "collection": "c"} | more
    return write_json({"specversion": "1.0", "source": "s", "id": "e", "type": "t", "data": item})


def _bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.json", b" " * (80 << 20))
    return made.getvalue()


def _open_ring() -> bytes:
    ground = {"type": "Polygon", "coordinates": [[[14, 46], [15, 46], [15, 47]]]}
    feature = {"type": "Feature", "properties": {"name": "a"}, "geometry": ground}
    return write_json({"type": "FeatureCollection", "features": [feature]})


def _header(**tensor: Any) -> bytes:
    head = write_json({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | tensor})
    return len(head).to_bytes(8, "little") + head + bytes(4)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("announcements", _announce(bbox=["@huge@", 1, 1, 1])),
        ("announcements", _announce(type=["Feature"])),
        ("announcements", _announce(bbox=[1, 2])),
        ("profile", _LONG_NUMBER),
        ("profile", _DEEP),
        ("recipe", _LONG_NUMBER),
        ("recipe", _DEEP),
        ("card", _DEEP),
        ("model-config", write_json({"format": FORMAT, "phi": 5})),
        ("model-config", write_json({"format": FORMAT, "phi": {"num_layers": 10**9}})),
        ("model-config", write_json({"format": FORMAT, "mask": {"num_heads": 0}})),
        ("model-config", write_json({"format": FORMAT, "name": "@deep@"})),
        ("model-folder", ("config.json", b"null")),
        ("model-folder", ("tokenizer.json", b"{}")),
        ("official-folder", ("config.json", write_json({"name": ["x"]}))),
        ("sam3-folder", ("config.json", write_json({"model_type": []}))),
        ("sam3-folder", ("model.safetensors", _header(data_offsets=["@infinite@", 4]))),
        ("sam3-folder", ("model.safetensors", _header(shape=[2**40] * 5000))),
        ("labelled-sets", _bomb()),
        ("admin-areas", _open_ring()),
        ("feeds-json", '{"type": "Feature\ud800"}'.encode("utf-8", "surrogatepass")),
    ],
)
def test_it_is_refused_in_words(name: str, document: Any) -> None:
    parser = _BY_NAME[name]
    with pytest.raises(parser.refusals):
        parser.parse(document)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("catalog-answers", write_json({"type": ["Feature"], "links": [{"rel": ["child"], "href": "x"}]})),
        ("catalog-answers", write_json({"type": "Catalog", "links": [{"rel": ["child"], "href": "x"}]})),
        ("tokens", _pack(area=5)),
        ("tokens", _pack(series=[[3, "2024-01-01T00:00:00Z", True]])),
        ("tokens", _pack(series=[[_ID, "2024-01-01", True]])),
        ("tokens", base64.urlsafe_b64encode(b'[["a"],["\\ud800"],1]').decode()),
        ("arguments", "0001-01-01T00:00:00+14:00"),
        ("arguments", "9999-12-31"),
        ("queries", ("intersects", "\ud800")),
    ],
)
def test_it_is_passed_over_or_refused_in_words(name: str, document: Any) -> None:
    """These read with several parsers, each with refusals of its own."""
    _BY_NAME[name].parse(document)


def test_a_label_without_a_place_is_not_one_at_its_place() -> None:
    """Its coordinates are no numbers, and so were no metre away from any others."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.gpkg"
        table = gpd.GeoDataFrame({"sample_id": [_ID], "label": ["both"]}, geometry=[Point()], crs=4326)
        table.to_file(file, layer="samples", driver="GPKG")
        with pytest.raises(LabelRefused, match="has no point"):
            read_labels(file)
