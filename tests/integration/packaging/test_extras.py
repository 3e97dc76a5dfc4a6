"""The core works without the extras; a command that needs one says what to install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from segwatch.flows.runtime import extras
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(
    line.strip().lower().split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
)
#: Distributions whose top-level module has another name.
RENAMED = {
    "titiler-core": "titiler",
    "pillow": "PIL",
    "stac-fastapi-pgstac": "stac_fastapi",
    "huggingface-hub": "huggingface_hub",
    "rio-tiler": "rio_tiler",
    "prefect-docker": "prefect_docker",
    "prefect-kubernetes": "prefect_kubernetes",
    "opentelemetry-sdk": "opentelemetry.sdk",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry.exporter.otlp.proto.http",
}
#: Refuses the imports named in the environment, as in an installation without them.
SITE = """
import importlib.util, os, sys

def is_refused(name):
    return any(name == one or name.startswith(one + ".") for one in os.environ["REFUSED"].split())

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if is_refused(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
find_spec = importlib.util.find_spec
# libraries ask whether a module is there
importlib.util.find_spec = lambda name, package=None: None if is_refused(name) else find_spec(name, package)
"""
IMPORT_ALL = """
import importlib, pkgutil, segwatch.client, segwatch.db, segwatch.flows, segwatch.geo
for package in (segwatch.client, segwatch.db, segwatch.flows, segwatch.geo):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith(("segwatch.flows.web.", "segwatch.db.migrations.")):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
"""


def run_without(folder: Path, refused: tuple[str, ...], *argv: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process where some modules cannot be imported."""
    (folder / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    env = os.environ | {
        "REFUSED": " ".join(refused),
        "PYTHONPATH": str(folder),
        "SEGWATCH_HOME": str(folder / "home"),
    }
    env.pop("PREFECT_API_URL", None)
    return subprocess.run(
        [sys.executable, *argv], env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


def test_the_core_imports_without_any_extra(tmp_path: Path) -> None:
    refused = tuple(one for modules in extras.MODULES.values() for one in modules)
    done = run_without(tmp_path, refused, "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr


#: Commands, one after the other; how each ended.
RUN_EACH = """
import sys
from segwatch.flows.cli import main
for command in sys.argv[1:]:
    sys.argv = ["segwatch", *command.split()]
    try:
        main()
    except SystemExit as ended:
        print(ended.code)
"""


@pytest.mark.parametrize(
    ("extra", "commands"),
    [
        ("serve", ("serve --port 1", "demo")),
        ("model", ("model parity nowhere", "model convert nowhere nowhere-else", "demo")),
        (
            "train",
            ("model train model/train/recipes/tiny.toml", "model eval --dataset lasers --root nowhere"),
        ),
        ("stac", ("demo",)),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(
    tmp_path: Path, extra: str, commands: tuple[str, ...]
) -> None:
    done = run_without(tmp_path, extras.MODULES[extra], "-c", RUN_EACH, *commands)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"] * len(commands), done.stderr
    assert " ".join(done.stderr.split()).count(f"pip install 'segwatch[{extra}]'") == len(commands)
    assert "Traceback" not in done.stderr


def test_the_map_server_started_as_a_module_says_it_too(tmp_path: Path) -> None:
    done = run_without(tmp_path, extras.MODULES["serve"], "-m", "segwatch.flows.web", "--port", "1")
    assert done.returncode != 0
    assert "pip install 'segwatch[serve]'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_modules_of_each_extra_are_those_declared() -> None:
    declared = {
        extra: {RENAMED.get(name, name) for name in map(name_of, requirements)}
        for extra, requirements in PROJECT["optional-dependencies"].items()
        if extra in extras.MODULES
    }
    assert {extra: set(modules) for extra, modules in extras.MODULES.items()} == declared


def test_every_dependency_is_pinned_for_reproducible_installations() -> None:
    every = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    # an extra of the project itself stands for what it lists
    others = {name_of(one) for one in every} - {name_of(PROJECT["name"])}
    assert sorted(others - set(PINS)) == []


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()
