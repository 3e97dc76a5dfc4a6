"""Commands and runs start fast: packages that take long to import are imported where they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Imported by reports, tables, training, segmenting and the web server.
HEAVY = {
    "weasyprint",
    "PIL",
    "pandas",
    "geopandas",
    "xarray",
    "dask",
    "skimage.registration",
    "scipy.optimize",
    "torch",
}
#: Needed by most commands, but not to explain them.
WORKING = {"prefect", "httpx", "requests", "pystac_client", "numpy", "shapely", "rasterio", "scipy", "jinja2"}


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (
            "import runpy; sys.argv[1:] = ['--help']; runpy.run_module('segwatch.flows.cli', run_name='__main__')",
            HEAVY | WORKING,
        ),
        ("import segwatch.flows.observe", HEAVY),
    ],
    ids=["help", "observe"],
)
def test_starting_imports_nothing_heavy(words: str, absent: set[str]) -> None:
    script = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); " + words
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert "segwatch.flows" in loaded
    assert not loaded & absent
