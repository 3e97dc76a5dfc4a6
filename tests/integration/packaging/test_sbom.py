"""``make sbom`` lists every package of the environment in a document that CycloneDX's own schema accepts."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.paths import ROOT

#: The schema is applied to so many packages here; make sbom applies it to all, which takes half a minute.
_CHECKED = 12


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
    assert all(one["version"] and one["purl"].startswith("pkg:pypi/") for one in listed.values())
    text = file.read_text(encoding="utf-8")
    assert str(ROOT) not in text, "whose machine it was made on is nobody's business"
    found["components"] = found["components"][:_CHECKED]
    found["dependencies"] = [{"ref": one["bom-ref"]} for one in found["components"]]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found)) is None


def _write_sbom(file: Path) -> dict[str, Any]:
    """Run the command of the Makefile, without the check of all packages."""
    planned = subprocess.run(
        ["make", "--no-print-directory", "-n", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (line,) = (one for one in planned.replace("\\\n", " ").splitlines() if "cyclonedx_py" in one)
    words = [sys.executable if one.endswith("/python") else one for one in shlex.split(line)]
    words = [one for one in words if one != "--validate"]
    words[words.index("--output-file") + 1] = str(file)
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return made
