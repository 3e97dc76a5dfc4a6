"""No tracked file holds a key of a known form."""

from __future__ import annotations

import re
import subprocess

from tests.support.paths import ROOT

_KEYS = re.compile(
    rb"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,}|xox[abprs]-[0-9A-Za-z-]{20,}|AIza[\w-]{35}"
    rb"|hf_[A-Za-z]{34}|glpat-[\w-]{20}|-----BEGIN (?:RSA |EC |OPENSSH |)PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}"
)
#: Made up by their vendor for documentation.
_EXAMPLES = {b"AKIAIOSFODNN7EXAMPLE"}


def test_no_tracked_file_holds_a_key() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    found = {
        (file.name, key)
        for file in files
        if file.is_file()
        for key in set(_KEYS.findall(file.read_bytes())) - _EXAMPLES
    }
    assert not {name for name, _ in found}


def test_the_pattern_finds_keys() -> None:
    assert _KEYS.search(b"key = " + b"AKIA" + b"Z" * 16)
    assert _KEYS.search(b"ghp_" + b"a" * 36)
