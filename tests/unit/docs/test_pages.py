"""Every page of the documentation is true where a test can tell: links, blocks, commands, settings, files."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from segwatch.flows.config import variables, watchfile
from segwatch.flows.events import playbooks
from segwatch.geo.sources import profiles
from segwatch.geo.sources.local import registry
from segwatch.geo.sources.local.adding import AddingOptions, add
from segwatch.model import publishing
from segwatch.model.train.config import load_config
from tests.support import documents, local_pictures
from tests.support.documents import Block, Page
from tests.support.paths import ROOT

PAGES = documents.list_pages()
BLOCKS = [block for page in PAGES for block in page.blocks]
LANGUAGES = {"", "console", "ini", "json", "nginx", "postgresql", "python", "sh", "sql", "toml", "yaml"}
_FOLDERS = (
    "benchmarks",
    "client",
    "db",
    "demo",
    "deployments",
    "docs",
    "examples",
    "flows",
    "geo",
    "model",
    "tests",
)
_PATH = re.compile(rf"(?:{'|'.join(_FOLDERS)})(?:/[\w.-]+)+/?")
#: Examples of names that do not exist.
_NO_SETTINGS = {"SEGWATCH_DATABSE_URL"}


def _name(one: Page | Block) -> str:
    return one.name if isinstance(one, Page) else f"{one.page}: {one.text[:30]}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Page) -> None:
    broken = [
        link for link in page.links if not link.startswith(("https://", "http://")) and _broken(page, link)
    ]
    assert broken == []


def _broken(page: Page, link: str) -> bool:
    path, _, anchor = link.partition("#")
    file = (ROOT / page.name).parent / path if path else ROOT / page.name
    if not file.is_file():
        return True
    return bool(anchor) and anchor not in Page(path, file.read_text(encoding="utf-8")).anchors


@pytest.mark.parametrize("page", [one for one in PAGES if not one.name.startswith("docs/adr/0")], ids=_name)
def test_files_that_are_named_exist(page: Page) -> None:
    """Inline code that begins with one of the repository's folders is the path of a file or folder in it.

    Decisions are left out: they also name layouts that were not taken.
    """
    named = {found[0] for code in page.inline if (found := _PATH.fullmatch(code))}
    assert sorted(one for one in named if not (ROOT / one).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_settings_that_are_named_exist(page: Page) -> None:
    named = set(re.findall(r"\bSEGWATCH_[A-Z_]*[A-Z]\b", page.text))
    assert named - variables.KNOWN - _NO_SETTINGS == set()


@pytest.mark.parametrize(("page", "command"), sorted(set(documents.list_commands())))
def test_commands_and_options_exist(page: str, command: str) -> None:
    documents.check_command(command)


@pytest.mark.parametrize("block", BLOCKS, ids=_name)
def test_blocks_say_what_they_are(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "yaml"], ids=_name)
def test_yaml_is_a_watch_or_part_of_one(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_STAC_URL", "http://127.0.0.1:1")
    document = yaml.safe_load(block.text)
    if "version" not in document:
        document = _some_watch() | document
    if name := document["source"].get("local"):
        monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path / "home"))
        registry.use_home(tmp_path / "home")
        picture = local_pictures.write_plain(
            tmp_path / "2024-05-01.tif", local_pictures.paint((40, 40), (9, 9, 6))
        )
        add(name, [picture], AddingOptions())
    file = tmp_path / "watch.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert watchfile.load(file).name == document["name"]


def _some_watch() -> dict[str, object]:
    whole: dict[str, object] = yaml.safe_load(
        next(block.text for block in documents.read_page("README.md").blocks if block.language == "yaml")
    )
    return whole


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language in {"json", "python"}], ids=_name)
def test_other_blocks_can_be_parsed(block: Block) -> None:
    if block.language == "json":
        json.loads(block.text)
    else:
        ast.parse(block.text)


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "toml"], ids=_name)
def test_toml_is_a_training_recipe_or_the_facts_of_a_card(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.toml"
    file.write_text(block.text, encoding="utf-8")
    if block.text.startswith("licence"):
        assert publishing.read_facts(file).data
    else:
        assert load_config(file).start.checkpoint is not None


def test_pages_that_the_code_names_exist() -> None:
    named = {
        found
        for folder in ("flows", "geo", "db", "model", "deployments")
        for file in (ROOT / folder).rglob("*.py")
        for found in re.findall(r"\bdocs/[\w/-]+\.(?:md|jpg)", file.read_text(encoding="utf-8"))
    }
    assert sorted(one for one in named if not (ROOT / one).exists()) == []


def test_every_playbook_and_profile_has_an_example() -> None:
    shown = {watchfile.load(file).profile.name for file in (ROOT / "examples").glob("*.yaml")}
    assert set(profiles.list_names()) - shown == {"local-naip", "local-sentinel2"}, "the demo has these two"
    by_hand = {file.stem for file in (ROOT / "examples" / "disasters").glob("*.yaml")}
    assert by_hand == {one.name for one in playbooks.load_all()}


@pytest.mark.parametrize("file", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda file: file.name)
def test_examples_can_be_loaded(file: Path) -> None:
    if file.parent.name == "playbooks":
        assert file.stem in {one.name for one in playbooks.load_all(file.parent)}
    else:
        assert watchfile.load(file).name


def test_the_architecture_names_every_flow_and_the_map_of_files_every_folder() -> None:
    deployed = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    flows = {one["name"].replace("-", "_") for one in deployed}
    page, drawing = (
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("docs/architecture.md", "docs/explanation/architecture.svg")
    )
    assert {one for one in flows if f"**{one}**" not in page} == set()
    assert {one for one in flows if one not in drawing} == set()
    places = (ROOT / "docs/where-things-are.md").read_text(encoding="utf-8")
    folders = {f"flows/{init.parent.name}" for init in (ROOT / "flows").glob("*/__init__.py")}
    assert {one for one in folders if f"| `{one}` |" not in places} == set()
