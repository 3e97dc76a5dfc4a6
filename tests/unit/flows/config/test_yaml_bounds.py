"""Files that people write are read at a bounded cost, and a bad one hides no other."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from segwatch.flows.config import watchfile
from segwatch.flows.config.yaml_document import parse_yaml
from segwatch.flows.errors import ConfigError
from segwatch.flows.events import playbooks

WATCH = """version: 1
name: {name}
instruction: segment the flooded roads
area: {{bbox: [15.0, 46.0, 15.1, 46.1]}}
source: {{profile: local-sentinel2, catalog: "http://127.0.0.1:9"}}
start: {start}
"""


def aliases(make: str) -> bytes:
    names = "abcdefghijklmnop"
    lines = ["a: &a {x: 1, y: 2}"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} " + make.replace("#", ", ".join([f"*{before}"] * 9)))
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (aliases("[#]"), "values once its aliases are expanded"),
        (aliases("{<<: [#]}"), "values once its aliases are expanded"),
        (b"a: &a [*a]", "an alias contains itself"),
        (b"a: " + b"[" * 100_000, "nested more than 50 levels"),
        (b"- " * 100_000, "nested more than 50 levels"),
        (b"a: 1" + b":59" * 100_000, "a number or time of 300001 characters"),
        (b"a: 1" + b"9" * 100_000, "a number or time of 100001 characters"),
        (b'a: !!int "1' + b":59" * 100_000 + b'"', "a number or time"),
        (b"a: [" + b"1, " * 300_000 + b"1]", "more than 20000 values"),
        (b"a: " + b"x" * 2**20, "larger than 1 MiB"),
    ],
    ids=[
        "aliases",
        "merge keys",
        "itself",
        "deep",
        "deep blocks",
        "base 60",
        "digits",
        "tag",
        "values",
        "size",
    ],
)
def test_what_costs_too_much_is_refused_at_once(content: bytes, words: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=words):
        parse_yaml(content, "w.yaml")
    assert time.monotonic() - begun < 20


def test_aliases_that_people_use_are_read() -> None:
    assert parse_yaml(b"a: &a [x]\nb: {c: *a}\nd: {<<: {e: *a}}", "w") == {
        "a": ["x"], "b": {"c": ["x"]}, "d": {"e": ["x"]},
    }  # fmt: skip


def test_a_field_that_is_given_twice_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"w: line 3: targets is given twice, first on line 1; take out one"
    ):
        parse_yaml(b"targets: [a]\nb: 1\ntargets: [b]", "w")
    with pytest.raises(ConfigError, match=r"w: line 2: c is given twice"):
        parse_yaml(b"a: [{c: 1,\nc: 2}]", "w")


def test_wrong_names_and_times_are_answered_with_the_right_form(tmp_path: Path) -> None:
    for wrong, right, said in (
        ("name: lakes", "name: Große Seen", "name: write small letters, digits and hyphens"),
        (
            "2024-01-01T00:00:00Z",
            "2024-01-01",
            "start: is a time without a time zone; write 2026-03-01T00:00:00Z",
        ),
        ("2024-01-01T00:00:00Z", "01.02.2024", "start: is not a time; write 2026-03-01T00:00:00Z"),
    ):
        file = tmp_path / "watch.yaml"
        file.write_text(WATCH.format(name="lakes", start="2024-01-01T00:00:00Z").replace(wrong, right))
        with pytest.raises(ConfigError, match=said):
            watchfile.load(file)


def test_bad_watch_files_hide_no_good_one(tmp_path: Path) -> None:
    for name, start in {
        "a-good": "2024-01-01T00:00:00Z",
        "b-early": "0001-01-01T00:00:00+05:00",
        "c-late": "9999-12-31T23:59:59-05:00",
        "d-never": "2024-01-01T00:00:00Z\nend: 9999-12-31T23:59:59Z",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(WATCH.format(name=name, start=start))
    (tmp_path / "e-aliases.yaml").write_bytes(aliases("[#]"))
    (tmp_path / "f-folder.yaml").mkdir()
    (tmp_path / "g-again.yaml").write_text(WATCH.format(name="a-good", start="2024-01-01T00:00:00Z"))
    loaded, failed = watchfile.load_each(tmp_path)
    assert [one.name for one in loaded] == ["a-good", "d-never"]
    assert [Path(one.partition(":")[0]).name[:1] for one in failed] == list("bcefg")


def test_a_bad_playbook_hides_no_good_one(tmp_path: Path) -> None:
    shipped = Path(playbooks.__file__).parent / "playbooks_data" / "flood.yaml"
    (tmp_path / "flood.yaml").write_bytes(shipped.read_bytes())
    (tmp_path / "bad.yaml").write_bytes(aliases("[#]"))
    (tmp_path / "folder.yaml").mkdir()
    books, failed = playbooks.load_each(tmp_path)
    assert [one.name for one in books] == ["flood"]
    assert ["bad.yaml" in failed[0], "folder.yaml" in failed[1], len(failed)] == [True, True, 2]
