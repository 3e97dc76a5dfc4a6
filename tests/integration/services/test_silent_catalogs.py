"""What a catalog does not say is not taken for an answer: at the commands, and in the ledger."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from shapely.geometry import box, mapping
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from segwatch.db import watches, watermarks
from segwatch.flows.cli.app import app
from segwatch.flows.pipeline.discovery import DiscoveryCounts, discover_watch
from segwatch.geo.errors import CatalogUnreachable, NoSuchCollection, SearchIncomplete
from segwatch.geo.sources import profiles
from segwatch.geo.types.scene import Watermark
from segwatch.geo.types.watch import Instruction, Watch
from tests.conftest import Database
from tests.support.odd_catalog import OddCatalog, items, odd_catalog

NOW = datetime(2024, 6, 1, tzinfo=UTC)
AREA = box(0.2, 0.2, 0.21, 0.21)
COLOURS = ("red", "green", "blue")
Command = Callable[..., Result]


@pytest.fixture
def segwatch(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path))
    monkeypatch.setattr("segwatch.geo.sources.search.catalog._BACK_OFF_SECONDS", 0.02)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def discover(engine: Engine, url: str, *, after: timedelta = timedelta(0)) -> DiscoveryCounts:
    watch = Watch(
        "w",
        Instruction("segment the water"),
        AREA,
        profiles.load("rgb-cog"),
        url,
        datetime(2024, 1, 1, tzinfo=UTC),
    )
    with engine.begin() as conn:
        watches.apply(conn, watch)
    return discover_watch(engine, "w", model_version="m@1", now=NOW + after)


def mark(engine: Engine) -> Watermark:
    with engine.connect() as conn:
        return watermarks.load(conn, watches.load_current(conn, "w").revision_id)


def queued(engine: Engine) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text("SELECT count(*) FROM segwatch.observation")).scalar_one())


def watch_file(folder: Path, url: str) -> str:
    document = {
        "version": 1, "name": "renamed", "instruction": "segment the water", "targets": ["water"],
        "area": {"bbox": list(AREA.bounds)}, "source": {"profile": "rgb-cog", "catalog": url},
        "start": "2024-01-01T00:00:00Z",
    }  # fmt: skip
    file = folder / "renamed.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(file)


def words(done: Result) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_an_incomplete_search_queues_what_it_found_and_moves_no_watermark(engine: Engine) -> None:
    catalog = OddCatalog(items(150, every=timedelta(minutes=1)), link="none", keeps_period=False)
    with odd_catalog(catalog) as url:
        with pytest.raises(SearchIncomplete, match="full page of 100 items"):
            discover(engine, url)
        assert queued(engine) > 0
        assert mark(engine) == Watermark()
        catalog.link = "post"
        assert discover(engine, url, after=timedelta(hours=1)).items == 150
        assert mark(engine).reconciled_at == NOW + timedelta(hours=1)


def test_a_year_that_is_cut_is_found_whole(engine: Engine) -> None:
    catalog = OddCatalog(items(250, every=timedelta(hours=12)), link="none")
    with odd_catalog(catalog) as url:
        assert discover(engine, url).items == 250
    assert mark(engine).reconciled_at == NOW


def test_a_catalog_that_breaks_in_the_middle_moves_no_watermark(engine: Engine) -> None:
    catalog = OddCatalog(items(250, every=timedelta(hours=12)), link="none")
    page = catalog.page

    def breaking(base: str, path: str, asked: dict[str, object]) -> dict[str, object]:
        if len(catalog.asked) > 2:
            return {"type": "FeatureCollection"}
        return page(base, path, asked)

    catalog.page = breaking  # type: ignore[method-assign]
    with odd_catalog(catalog) as url, pytest.raises(CatalogUnreachable, match="no list of features"):
        discover(engine, url)
    assert mark(engine) == Watermark()


def test_a_collection_that_is_gone(engine: Engine, segwatch: Command, tmp_path: Path) -> None:
    catalog = OddCatalog([], collections=("visual_2.0", "radar"))
    with odd_catalog(catalog) as url:
        with pytest.raises(NoSuchCollection, match=r"no collection 'visual'; it has visual_2\.0"):
            discover(engine, url)
        assert mark(engine) == Watermark()
        done = {
            name: segwatch(*arguments)
            for name, arguments in {
                "apply": ("apply", watch_file(tmp_path, url)),
                "run": ("run", "renamed"),
                "check": ("source", "check", url, "--profile", "rgb-cog"),
                "of a collection": ("source", "check", f"{url}/collections/radar", "--profile", "rgb-cog"),
            }.items()
        }
    assert {name: one.exit_code for name, one in done.items()} == dict.fromkeys(done, 1)
    for name in ("apply", "run", "check"):
        assert "has no collection 'visual'; it has visual_2.0" in words(done[name])
    assert "collection 'radar'" in words(done["of a collection"])
    with engine.connect() as conn:
        assert "renamed" in watches.list_names(conn)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_search_that_is_refused_for_its_collection(engine: Engine, status: int) -> None:
    catalog = OddCatalog([], collections=("visual_2.0",), broken=status)
    with odd_catalog(catalog) as url:
        with pytest.raises(NoSuchCollection, match=r"no collection 'visual'; it has visual_2\.0"):
            discover(engine, url)
        catalog.collections = ("visual",)
        with pytest.raises(CatalogUnreachable, match=f"cannot be read: HTTP {status}"):
            discover(engine, url)


def test_a_collection_that_is_there_and_empty(engine: Engine, segwatch: Command, tmp_path: Path) -> None:
    with odd_catalog(OddCatalog([])) as url:
        found = discover(engine, url)
        assert (found.items, found.rejected) == (0, 0)
        assert "2020-01-01T00:00:00Z to now" in found.note
        assert mark(engine).reconciled_at == NOW
        assert segwatch("apply", watch_file(tmp_path, url)).exit_code == 0
        run = segwatch("run", "renamed")
        assert run.exit_code == 0
        assert "nothing of it here in this period" in words(run)


def test_coverage_and_why_not_tell_a_catalog_that_was_never_heard(
    engine: Engine, segwatch: Command, tmp_path: Path
) -> None:
    catalog = OddCatalog([], broken=404, collections=None)
    with odd_catalog(catalog) as url:
        segwatch("apply", watch_file(tmp_path, url))
        assert segwatch("run", "renamed").exit_code == 1
        asked = (("coverage", "renamed", "--json"), ("why-not", "renamed", "0.205", "0.205"))
        assert ["never searched to the end" in words(segwatch(*one)) for one in asked] == [True, True]
        catalog.broken = 0
        done = segwatch("run", "renamed")
        assert done.exit_code == 0
        assert not done.output.startswith("\n")
        assert not any(line.rstrip().endswith(":") for line in done.output.splitlines()), done.output
        assert ["never searched to the end" in words(segwatch(*one)) for one in asked] == [False, False]


@pytest.mark.parametrize("names", [None, ("visual",)])
def test_a_catalog_that_does_not_list_its_collections_is_believed(
    engine: Engine, names: tuple[str, ...] | None
) -> None:
    with odd_catalog(OddCatalog([], collections=names)) as url:
        assert discover(engine, url).items == 0


def test_what_cannot_be_asked_is_stored_with_a_warning(segwatch: Command, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = segwatch("apply", watch_file(tmp_path, nowhere))
    assert done.exit_code == 0
    assert "warning: renamed" in words(done)
    assert "its collection was not checked" in words(done)


def profile(folder: Path, name: str) -> str:
    made = folder / f"{name}.toml"
    bands = "".join(f'{one} = {{ asset = "visual", index = {at} }}\n' for at, one in enumerate(COLOURS, 1))
    made.write_text(
        f'title = "{name}"\ncollection = "visual"\ngsd_m = 10.0\nlow = 0\nhigh = 255\n[bands]\n{bands}',
        encoding="utf-8",
    )
    return str(made)


def responding(segwatch: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, **catalogs: str) -> Result:
    sources = [{"profile": profile(folder, name), "catalog": url} for name, url in catalogs.items()]
    document = {
        "version": 1, "name": "trial", "title": "Trial", "match": {"kinds": ["flood"]}, "radius_km": 1,
        "days": 30, "sources": sources, "watch": {"instruction": "segment the water", "targets": ["water"]},
    }  # fmt: skip
    books = folder / "books"
    books.mkdir(exist_ok=True)
    (books / "trial.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (folder / "town.geojson").write_text(json.dumps(mapping(AREA)), encoding="utf-8")
    monkeypatch.setenv("SEGWATCH_PLAYBOOKS", str(books))
    area = ("--area", str(folder / "town.geojson"), "--at", "2024-03-01T00:00:00")
    return segwatch("respond", "--playbook", "trial", *area, "--dry-run")


def test_a_dry_run_tells_silence_from_absence(
    segwatch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = OddCatalog([], broken=404, collections=None)
    empty, gone = OddCatalog([]), OddCatalog([], collections=("other",))
    with odd_catalog(silent) as mute, odd_catalog(empty) as answering, odd_catalog(gone) as renamed:
        nobody = words(responding(segwatch, tmp_path, monkeypatch, first=mute, second=renamed))
        one = words(responding(segwatch, tmp_path, monkeypatch, first=mute, second=answering))
        every = words(responding(segwatch, tmp_path, monkeypatch, second=answering))
    assert "no scene was found" not in nobody
    assert "before: unknown; no result from first, second" in nobody
    assert "since: unknown" in nobody
    assert "HTTP 404" in nobody
    assert "no collection 'visual'; it has other" in nobody
    assert "before: no scene was found in second; no result from first" in one
    assert "before: no scene was found in second" in every
    assert "no result" not in every


def test_a_check_says_where_the_api_is_and_that_it_cuts(segwatch: Command) -> None:
    with odd_catalog(OddCatalog(items(30), most=8, link="none")) as url:
        cut = words(segwatch("source", "check", f"{url}/collections/visual/items", "--profile", "rgb-cog"))
    assert f"STAC API at {url}" in cut
    assert "collection visual, 2020-01-01T00:00:00Z to now" in cut
    assert "a full page has no link to the next" in cut
    with odd_catalog(replace(OddCatalog(items(30)), takes=("GET",), methods=("GET",), link="get")) as url:
        by_get = words(segwatch("source", "check", url, "--profile", "rgb-cog"))
    assert "paging 20 different ids, requested by GET" in by_get
    assert "does not link" not in by_get
