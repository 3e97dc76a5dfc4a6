"""Where exports write: whole files, and no remains of those that were killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from segwatch.flows.errors import ConfigError
from segwatch.flows.export.places import MARKER, check_target, write_whole


def test_the_remains_of_killed_exports_are_removed_a_day_later(tmp_path: Path) -> None:
    target = tmp_path / "lakes.csv"
    old, young = tmp_path / ".unfinished-aaaaaaaa-lakes.csv", tmp_path / ".unfinished-bbbbbbbb-lakes.csv"
    other = tmp_path / ".unfinished-cccccccc-ponds.csv"
    for one in (old, young, other):
        one.write_text("half")
    two_days_ago = time.time() - 2 * 24 * 3600
    for one in (old, other):
        os.utime(one, (two_days_ago, two_days_ago))
    with write_whole(target) as made:
        made.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)


def test_a_folder_is_replaced_only_if_an_export_wrote_it(tmp_path: Path) -> None:
    target = tmp_path / "catalog"
    for content in ("first", "second"):
        check_target(target, force=True)
        with write_whole(target) as made:
            made.mkdir()
            (made / content).write_text("")
            (made / MARKER).write_text("{}")
    assert sorted(one.name for one in target.iterdir()) == ["second", MARKER]
    with pytest.raises(ConfigError, match="is a folder"), write_whole(target) as made:
        made.write_text("a file")
    (target / MARKER).unlink()
    with pytest.raises(ConfigError, match="no export wrote"):
        check_target(target, force=True)
    assert [one.name for one in tmp_path.iterdir()] == ["catalog"]
