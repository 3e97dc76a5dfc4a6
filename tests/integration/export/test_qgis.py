"""The QGIS project: its layers resolve, its relations and times name columns, and QGIS opens and draws it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import numpy as np
import pyogrio
import pytest
import rasterio
from defusedxml.ElementTree import parse

from segwatch.flows.errors import ConfigError
from segwatch.flows.export import qgis
from segwatch.flows.export.palette import CHANGE_COLOURS
from segwatch.flows.export.tables import Request
from tests.invariants.conftest import Ledger, SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

FIRST, GROWN, SECOND = cells(1, 1, 2, 2), cells(1, 1, 4, 4), cells(5, 5, 7, 7)
#: Debian's Python with Debian's QGIS; not every machine has it.
PYTHON = "/usr/bin/python3"
#: Opens a project without a screen; prints what it holds, and draws the visible layers.
OPEN = """
import json, os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from qgis.core import QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsProject, QgsRectangle
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor
app = QgsApplication([], False)
app.initQgis()
project = QgsProject.instance()
assert project.read(sys.argv[1]), project.error()
files = [one for one in project.mapLayers().values() if one.providerType() == "ogr"]
shown = [one.layer() for one in project.layerTreeRoot().findLayers() if one.itemVisibilityChecked()]
shown = [one for one in shown if one in files]
extent = QgsRectangle()
extent.setMinimal()
for one in shown:
    extent.combineExtentWith(one.extent())
extent.scale(1.2)
settings = QgsMapSettings()
settings.setLayers(shown)
settings.setOutputSize(QSize(400, 400))
settings.setBackgroundColor(QColor(255, 255, 255))
settings.setExtent(extent)
job = QgsMapRendererSequentialJob(settings)
job.start()
job.waitForFinished()
job.renderedImage().save(sys.argv[2])
print(json.dumps({
    "crs": project.crs().authid(),
    "layers": {one.id(): [one.isValid(), one.featureCount(), one.temporalProperties().isActive()] for one in files},
    "relations": {name: one.isValid() for name, one in project.relationManager().relations().items()},
}))
app.exitQgis()
"""


@pytest.fixture
def project(ledgers: Any, tmp_path: Path) -> Path:
    ledger: Ledger = ledgers()
    before, after = SceneContent((FIRST, SECOND)), SceneContent((GROWN,))
    ledger.arrive([SceneContent(()), before, before, before, after, after, after], list(range(7)))
    target = tmp_path / "project"
    done = qgis.export_project(ledger.engine, Request("lakes"), target, server="http://127.0.0.1:8080/")
    assert done.rows == 1
    with pytest.raises(ConfigError, match="--known-at"):
        qgis.export_project(ledger.engine, Request("lakes", known_at=day(1)), tmp_path / "none")
    with pytest.raises(ConfigError, match="--server"):
        qgis.export_project(ledger.engine, Request("lakes"), tmp_path / "none", server="localhost")
    # the folder can be moved
    moved = tmp_path / "elsewhere"
    target.rename(moved)
    return moved / "segwatch.qgs"


def text_of(parent: Any, name: str) -> str:
    found = parent.find(name)
    assert found is not None
    return found.text or ""


def test_what_the_project_names_is_there(project: Path) -> None:
    root = parse(project).getroot()
    layers = {text_of(one, "id"): one for one in root.iterfind("projectlayers/maplayer")}
    assert [one.get("id") for one in root.iterfind("layer-tree-group/layer-tree-layer")] == list(layers)
    columns = {}
    for name, layer in layers.items():
        if text_of(layer, "provider") != "ogr":
            continue
        path, _, table = text_of(layer, "datasource").partition("|layername=")
        info = pyogrio.read_info(project.parent / path, layer=table)
        columns[name] = set(info["fields"])
        temporal = layer.find("temporal")
        assert temporal is not None
        assert {
            temporal.get("startField"),
            temporal.get("endField") or temporal.get("startField"),
        } <= columns[name]
    assert set(columns) == {f"segwatch-{one}" for one in ("changes", "objects", "history", "observations")}
    for relation in root.iterfind("relations/relation"):
        (fields,) = relation.iterfind("fieldRef")
        assert fields.get("referencingField") in columns[relation.get("referencingLayer", "")]
        assert fields.get("referencedField") in columns[relation.get("referencedLayer", "")]
    rules = {one.get("label"): one for one in layers["segwatch-changes"].iterfind("renderer-v2/rules/rule")}
    assert set(CHANGE_COLOURS) < set(rules)
    source = parse_qs(text_of(layers["segwatch-imagery"], "datasource"))
    assert "/imagery/tiles/WebMercatorQuad/{z}/{x}/{y}.png?watch=lakes&scene=" in unquote(source["url"][0])


def test_qgis_opens_and_draws_it(project: Path, tmp_path: Path) -> None:
    if subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, check=False).returncode != 0:
        pytest.skip("there is no PyQGIS here")
    picture = tmp_path / "map.png"
    done = subprocess.run(
        [PYTHON, "-c", OPEN, str(project), str(picture)], capture_output=True, text=True, check=False, timeout=300,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout.splitlines()[-1])
    assert held["crs"] == "EPSG:4326"
    package = project.parent / "segwatch.gpkg"
    counts = {
        name: pyogrio.read_info(package, layer=name)["features"] for name, _ in pyogrio.list_layers(package)
    }
    assert counts == {"changes": 4, "objects": 1, "history": counts["history"], "observations": 7}
    assert held["layers"] == {f"segwatch-{name}": [True, count, True] for name, count in counts.items()}
    assert set(held["relations"].values()) == {True}
    with rasterio.open(picture) as image:
        pixels = np.moveaxis(image.read([1, 2, 3]).astype(int), 0, -1).reshape(-1, 3)
    # fills are translucent, outlines and hatches are not; thin hatches are blended with what lies between them
    for kind, tolerance in (("appeared", 60), ("grew", 60), ("disappeared", 250)):
        near = np.abs(pixels - CHANGE_COLOURS[kind]).sum(axis=1) < tolerance
        assert near.sum() > 20, kind
