"""The guide to local files: a watch can use the catalog that its script makes and its server serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from segwatch.db.embedded.ports import find_free_port
from tests.support import documents
from tests.support.paths import ROOT


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    port = find_free_port()
    server = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "segwatch.flows.services.imagery",
            "--port",
            str(port),
            "--root",
            str(folder),
        ]
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_what_the_guide_makes_can_be_watched(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    for name in ("2009-08-18.tif", "2017-08-27.tif"):
        shutil.copy(ROOT / "demo" / "imagery" / "naip-cottonwood" / name, local)
    documents.save_files(documents.read_page("docs/how-to/local-files.md"), tmp_path)
    subprocess.run([sys.executable, "-W", "error", "make_catalog.py", "local"], cwd=tmp_path, check=True)
    with _served(local) as url:
        checked = subprocess.run(
            [sys.executable, "-P", "-m", "segwatch.flows.cli", "source", "check", f"{url}/collection.json",
             "--profile", "rgb-cog"],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.startswith("SEGWATCH_")},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 of 2 items can be used" in checked.stdout
