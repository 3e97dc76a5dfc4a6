"""The version is the same wherever it is written, and the changelog has the shape that releases need."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.support.paths import ROOT

_SECTIONS = {"Before you upgrade", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]


def test_the_changelog_can_be_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one) for one in releases[1:])
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= _SECTIONS
