"""Rejected items: what a user is shown of them, and when a rejection ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from shapely.geometry import box
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from segwatch.db import analyst, watches, watermarks
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import load_settings
from segwatch.flows.doctor import checks
from segwatch.flows.doctor.gathering import gather
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.geo.sources import profiles
from segwatch.geo.types.watch import Instruction, Watch
from tests.conftest import Database
from tests.support.serving import Answer, serving

AREA = box(0.2, 0.2, 0.8, 0.8)
START, NOW = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)


class Files:
    """A static catalog whose files change."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.url = ""

    def put(self, path: str, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.answers[path] = (200, {"content-type": "application/json"}, body)

    def watch(self, **parts: Any) -> Watch:
        profile = profiles.load("rgb-cog")
        return replace(
            Watch("w", Instruction("the water"), AREA, profile, f"{self.url}/catalog.json", START), **parts
        )


@pytest.fixture
def files() -> Iterator[Files]:
    made = Files()
    links = [{"rel": "item", "href": "./a/item.json"}]
    catalog = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "c", "links": links}
    made.put("/catalog.json", catalog)
    with serving(made.answers) as url:
        made.url = url
        yield made


def item(**parts: Any) -> dict[str, Any]:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": "lake-1", "collection": "visual", "geometry": square,
        "properties": {"datetime": "2024-05-01T10:00:00Z"}, "links": [],
        "assets": {"visual": {"href": "./a.tif"}}, **parts,
    }  # fmt: skip


def discover(engine: Engine, watch: Watch, *, days: int = 0) -> None:
    with engine.begin() as conn:
        watches.apply(conn, watch)
    discover_watch(engine, watch.name, model_version="m@1", now=NOW + timedelta(days=days))


def rejected(engine: Engine) -> int:
    with engine.connect() as conn:
        (row,) = analyst.list_watches(conn) or [{"rejected": 0}]
        return int(row["rejected"])


def shown(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as conn:
        return [(row["state"], row["item_hrefs"][0]) for row in analyst.list_coverage(conn, "w")]


def test_a_rejection_of_an_unreadable_file_names_it_and_ends_when_it_is_mended(
    engine: Engine, files: Files
) -> None:
    files.put("/a/item.json", b"{broken")
    discover(engine, files.watch())
    assert shown(engine) == [("rejected", f"{files.url}/a/item.json")]
    assert rejected(engine) == 1
    with engine.connect() as conn:
        (reason,) = conn.execute(text("SELECT reason FROM watch.rejected_items")).scalars()
    assert "the file cannot be read as STAC" in reason
    assert "API" not in reason
    files.put("/a/item.json", item())
    discover(engine, files.watch())
    assert rejected(engine) == 0
    assert [state for state, _ in shown(engine)] == ["pending"]


def test_a_rejection_ends_when_the_item_is_gone_and_comes_back_with_it(engine: Engine, files: Files) -> None:
    catalog = files.answers["/catalog.json"]
    files.put("/a/item.json", item(assets={}))
    files.put("/other.json", item(id="other"))
    for content, count in ((catalog, 1), (None, 0), (catalog, 1)):
        if content is None:
            links = [{"rel": "item", "href": "./other.json"}]
            files.put("/catalog.json", json.loads(catalog[2]) | {"links": links})
        else:
            files.answers["/catalog.json"] = content
        discover(engine, files.watch())
        assert rejected(engine) == count
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT superseded_at IS NULL FROM watch.rejected_items ORDER BY recorded_at")
        )
        assert list(rows.scalars()) == [False, True]


def test_a_rejection_ends_with_the_profile_that_rejected(engine: Engine, files: Files) -> None:
    files.put("/a/item.json", item(collection="lakes"))
    discover(engine, files.watch())
    assert rejected(engine) == 1
    mended = files.watch(profile=replace(profiles.load("rgb-cog"), collection="lakes"))
    with engine.begin() as conn:
        watches.apply(conn, mended)
    assert rejected(engine) == 0
    discover(engine, mended)
    assert [state for state, _ in shown(engine)] == ["pending"]


def test_rejected_items_lead_to_the_file_that_contains_them(engine: Engine, files: Files) -> None:
    files.put("/a/item.json", item(assets={}))
    discover(engine, files.watch())
    assert shown(engine) == [("rejected", f"{files.url}/a/item.json")]
    files.put("/all.json", {"type": "FeatureCollection", "features": [item(assets={}), item(id="b")]})
    discover(engine, files.watch(catalog=f"{files.url}/all.json"))
    assert {href for _, href in shown(engine)} == {f"{files.url}/all.json"}


def test_a_new_schedule_leaves_a_watch_searched_and_a_new_instruction_does_not(
    engine: Engine, files: Files
) -> None:
    files.put("/a/item.json", item())

    def unsearched(watch: Watch) -> bool:
        with engine.begin() as conn:
            watches.apply(conn, watch)
            return watermarks.is_unsearched(conn, "w")

    assert unsearched(files.watch())
    discover(engine, files.watch())
    assert not unsearched(files.watch(schedule="0 6 * * *"))
    assert not unsearched(files.watch(schedule="0 7 * * *", priority=5))
    assert unsearched(files.watch(instruction=Instruction("the roads")))
    assert unsearched(files.watch(area=box(0.2, 0.2, 0.9, 0.9)))


def test_a_collection_that_a_static_catalog_lacks_is_told_by_apply_run_and_doctor(
    engine: Engine, files: Files, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path))
    monkeypatch.setenv("SEGWATCH_SEGMENTER", "tests.support.colour_segmenter:Well")
    monkeypatch.setenv("SEGWATCH_EVIDENCE", "none")
    monkeypatch.setenv("SEGWATCH_LINGER_SECONDS", "0")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    files.put("/a/item.json", item(collection="lakes"))

    def segwatch(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def apply(**source: str) -> Result:
        given = {"profile": "rgb-cog", "catalog": f"{files.url}/catalog.json", **source}
        document = {
            "version": 1, "name": "w", "instruction": "the water", "start": "2024-01-01T00:00:00Z",
            "area": {"bbox": list(AREA.bounds)}, "source": given,
        }  # fmt: skip
        (tmp_path / "w.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        return segwatch("apply", str(tmp_path / "w.yaml"))

    def catalogs() -> list[checks.Finding]:
        found = checks.check(gather(load_settings(database_url=database.url())))
        return [one for one in found if one.about == "catalogs"]

    lacking = apply()
    assert lacking.exit_code == 1
    assert "has no collection 'visual'; it has lakes" in lacking.stderr
    run = segwatch("run", "w")
    assert "all 1 item(s) that the watch found were rejected" in " ".join(run.stderr.split())
    assert any("all 1 item(s) found were rejected" in one.says for one in catalogs())
    assert apply(collection="lakes").exit_code == 0
    discover_watch(engine, "w", model_version="m@1", now=NOW)
    assert [one.says for one in catalogs()] == ["1 of 1 watch(es): the last catalog search succeeded"]
