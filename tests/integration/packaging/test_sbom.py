"""``make sbom`` lists every package of the environment in a document that CycloneDX's own schema accepts."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT


def test_the_packages_of_the_environment_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    found = _write_sbom(file)
    assert found["metadata"]["component"]["name"] == "segwatch"
    listed = {one["name"].lower().replace("_", "-").replace(".", "-"): one for one in found["components"]}
    installed = {
        str(one.metadata["Name"]).lower().replace("_", "-").replace(".", "-") for one in distributions()
    }
    assert len(listed) > 100
    assert installed - listed.keys() <= {"segwatch"}
    # the product itself is installed from a folder
    others = [one for name, one in listed.items() if name != "segwatch"]
    assert all(one["version"] and one["purl"].startswith("pkg:pypi/") for one in others)
    text = file.read_text(encoding="utf-8")
    assert str(ROOT) not in text, "whose machine it was made on is nobody's business"


def _write_sbom(file: Path) -> dict[str, Any]:
    """Run the command, which checks the document against CycloneDX's schema."""
    command = ["make", "--no-print-directory", "sbom", f"SBOM_FILE={file}"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return made
