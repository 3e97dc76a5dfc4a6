"""What a user installs: the wheel, built from the source distribution, works without the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

NEEDED = (
    "segwatch/__init__.py",
    "segwatch/client/py.typed",
    "segwatch/flows/deployments/prefect.yaml",
    "segwatch/flows/deployments/work_pools/process/gpu.json",
    "segwatch/flows/web/static/index.html",
    "segwatch/flows/web/static/page/LICENSES.txt",
    "segwatch/db/sql/0001/analyst_views.sql",
    "segwatch/db/migrations/script.py.mako",
    "segwatch/geo/sources/profiles_data/sentinel2-l2a-earthsearch.toml",
    "segwatch/model/weights/tiny/model.safetensors",
    "segwatch/model/weights/tiny/MODEL_CARD.md",
    "segwatch/geo/py.typed",
)
PROBE = """
import segwatch
print(segwatch.__file__, segwatch.connect.__module__, segwatch.__version__)
import segwatch.flows.orchestration.deploy, segwatch.geo.sources.profiles, segwatch.db.migrate
from segwatch.model import model_version
print(segwatch.flows.orchestration.deploy.__file__)
print(segwatch.flows.orchestration.deploy.find_deployments_folder())
print(len(segwatch.geo.sources.profiles.list_names()))
print(model_version.compute_version(model_version.resolve_model_folder(None)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sdist -> wheel, as a package index would have it."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT))
    (made,) = out.glob("*.whl")
    return made


def test_everything_needed_is_inside_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert [name for name in NEEDED if name not in names] == []
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"segwatch"}
    assert wheel.stat().st_size < 25e6


def test_it_works_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site"
    quiet = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    _run(sys.executable, "-m", "pip", "install", *quiet, "--target", str(installed), str(wheel))
    told = _run(sys.executable, "-c", PROBE, cwd=tmp_path, PYTHONPATH=str(installed)).splitlines()
    assert told[0] == f"{installed}/segwatch/__init__.py segwatch.client.session 0.1.0"
    assert told[1].startswith(str(installed))
    assert told[2].startswith(str(installed))
    assert int(told[3]) >= 8
    assert told[4].startswith("segearth-r2-tiny@")


def _run(*argv: str, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        argv, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
