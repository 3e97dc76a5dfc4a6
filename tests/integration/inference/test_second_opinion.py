"""Spectral evidence and shadow segmenters, through the real drain and tracking on real scenes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import watches
from segwatch.flows.alerting.backtest import backtest_rules
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.inference import drain, tiled
from segwatch.flows.inference.drain import Drain
from segwatch.flows.inference.segmenters import InstructionSegmenter, Prediction, Segmenter, Tiles, load_named
from segwatch.flows.inference.spectral import SpectralSegmenter
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.tracking.evidence_conditions import parse_condition
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule, Instruction, TrackingSettings
from tests.support.spectral_scenes import (
    DATA,
    UNCHANGED,
    YEARS,
    Broken,
    DarkWater,
    dry_up,
    make_profile,
    queue_river,
    serving_river,
)

DETECTIONS = "SELECT target, area_m2, evidence, shadow_share, shadow_iou, track_id FROM watch.detections"
COMPARISONS = "SELECT * FROM watch.shadow_comparisons ORDER BY acquired_at, target"
#: Years whose scenes have no water.
DRY_YEARS = (2016, 2017)
CHANGES = "SELECT track_id, kind, baseline, evidence FROM watch.changes ORDER BY change_id"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of the scenes."""
    with serving_river({str(year): dry_up(2015) for year in DRY_YEARS}) as found:
        yield found


@pytest.fixture
def settings() -> FlowSettings:
    """Settings of a worker that ends when nothing is left."""
    return load_settings().model_copy(update={"linger_seconds": 0.0, "evidence": "none"})


def _rule(name: str, **conditions: str) -> AlertRule:
    parsed = tuple(parse_condition(*one) for one in conditions.items())
    return AlertRule(name, tuple(ChangeKind), evidence=parsed, include_baseline=True)


def _rows(engine: Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(text(query)).mappings()]


def _work(
    engine: Engine, settings: FlowSettings, segmenter: Segmenter | InstructionSegmenter | None = None
) -> int:
    """Predict and track everything; returns the number of predictions."""
    count = Drain(engine, segmenter or DarkWater(), settings).run().inferred
    track_ready(engine)
    return count


def test_water_has_the_evidence_of_water_inside_and_of_land_around(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    queue_river(engine, url, make_profile(tmp_path), DarkWater.version)
    assert _work(engine, settings) == 2
    large = [row for row in _rows(engine, DETECTIONS) if row["area_m2"] > 2e6]
    assert large
    for row in large:
        evidence = row["evidence"]
        assert evidence["mndwi"] > 0.1 > evidence["mndwi_ring"]
        assert evidence["ndvi"] < evidence["ndvi_ring"]
        assert "nbr" not in evidence, "the source has no second short-wave band"
        # a pixel is about 90 m long
        assert evidence["pixels"] == pytest.approx(row["area_m2"] / 8100, rel=0.1)
        assert evidence["ring_pixels"] > 0
    (now,) = _rows(
        engine, "SELECT bool_and(evidence IS NOT NULL) AS all, count(*) AS n FROM watch.objects_now"
    )
    assert now["n"]


def test_a_change_has_the_evidence_of_its_ground_before_and_after(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    rules = (
        _rule("wetter", mndwi_difference=">0.15"),
        _rule("drier", mndwi_difference="<-0.15"),
        _rule("impossible", mndwi_difference=">1.9"),
    )
    once = TrackingSettings(gone_after=1, tolerance_m=90.0)
    queue_river(engine, url, make_profile(tmp_path), DarkWater.version, rules=rules, tracking=once)
    _work(engine, settings)
    changes = [row for row in _rows(engine, CHANGES) if not row["baseline"]]
    gained = [row["evidence"] for row in changes if row["kind"] == "appeared"]
    lost = [row["evidence"] for row in changes if row["kind"] == "disappeared"]
    assert gained
    assert lost
    for evidence in gained:
        assert evidence["before"]["mndwi"] < evidence["after"]["mndwi"], "nothing was found there before"
        assert evidence["detection"]["mndwi"] > 0
    for evidence in lost:
        assert evidence["before"]["mndwi"] > evidence["after"]["mndwi"]
        assert evidence["detection"] is None
    alerted = _rows(engine, "SELECT rule, kind, change_id FROM watch.alerts")
    kinds = {(row["rule"], row["kind"]) for row in alerted}
    assert ("wetter", "appeared") in kinds
    assert ("drier", "disappeared") in kinds
    assert not kinds & {("wetter", "disappeared"), ("drier", "appeared"), ("impossible", "appeared")}
    with engine.connect() as conn:
        _, tested = backtest_rules(conn, watches.load_current(conn, "river").watch)
    assert {one.rule.name: len(one.alerts) for one in tested} == {
        name: sum(row["rule"] == name for row in alerted) for name in ("wetter", "drier", "impossible")
    }


def test_the_evidence_is_that_of_the_ground_around_the_change_in_any_order_of_arrival(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    """Invariants 1, 2 and 8: a late scene gives the changes that it makes, and those after it, the same evidence.

    A disappearance is raised at the second miss: its ground is compared from before the first.
    """
    profile, twice = make_profile(tmp_path), TrackingSettings(gone_after=2, tolerance_m=90.0)
    orders = {"in order": (*YEARS, UNCHANGED), "late": (UNCHANGED, *YEARS)}
    for name, years in orders.items():
        for year in years:
            queue_river(engine, url, profile, DarkWater.version, (year,), name=name, tracking=twice)
            assert _work(engine, settings) == 1
    held = (
        "SELECT c.kind, c.valid_at, round(c.after_m2) AS m2, c.evidence, b.acquired_at AS before_at"
        " FROM watch.changes c JOIN segwatch.change_evidence e ON e.change_id = c.change_id"
        " LEFT JOIN segwatch.observation b ON b.id = e.before_id"
    )
    found = {
        name: _rows(
            engine, f"{held} WHERE watch = '{name}' AND c.retracted_at IS NULL ORDER BY 2, 1, 3, 4::text"
        )
        for name in orders
    }
    assert found["late"] == found["in order"]
    gone = [row for row in found["late"] if row["kind"] == "disappeared"]
    assert gone
    for row in gone:
        assert (row["before_at"].year, row["valid_at"].year) == YEARS
        assert row["evidence"]["before"]["mndwi"] > row["evidence"]["after"]["mndwi"] + 0.05
    stored = _rows(engine, "SELECT * FROM segwatch.change_evidence ORDER BY change_id")
    track_ready(engine)
    assert _rows(engine, "SELECT * FROM segwatch.change_evidence ORDER BY change_id") == stored


def test_the_shadow_is_compared_and_never_published(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    queue_river(engine, url, make_profile(tmp_path), DarkWater.version, shadow="spectral")
    assert _work(engine, settings) == 2
    compared = _rows(engine, COMPARISONS)
    assert [row["shadow"] for row in compared] == ["spectral 2"] * 2
    for row in compared:
        assert row["reason"] is None
        assert row["iou"] > 0.75
        assert row["primary_count"]
        assert row["shadow_count"]
    detections = _rows(engine, DETECTIONS)
    assert len(detections) == sum(row["primary_count"] for row in compared)
    for row in detections:
        assert 0 <= row["shadow_iou"] <= row["shadow_share"] <= 1 + 1e-9
    places = _rows(engine, "SELECT found_by, area_m2 FROM watch.shadow_differences ORDER BY area_m2 DESC")
    assert {row["found_by"] for row in places} <= {"primary", "shadow"}
    (models,) = _rows(engine, "SELECT array_agg(DISTINCT model) AS names FROM watch.objects_now")
    assert models["names"] == [DarkWater.version]


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (Instruction("segment the roads", ("road",)), "no spectral class"),
        (Instruction("segment the burned ground", ("burned ground",)), "no bands for nbr"),
    ],
)
def test_the_spectral_shadow_says_where_it_has_no_opinion(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path, instruction: Instruction, reason: str
) -> None:
    profile = make_profile(tmp_path)
    queue_river(engine, url, profile, DarkWater.version, (1985,), shadow="spectral", instruction=instruction)
    assert _work(engine, settings) == 1
    (row,) = _rows(engine, COMPARISONS)
    assert row["target"] is None
    assert reason in row["reason"]
    assert instruction.targets[0] in row["reason"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{Broken.__module__}:{Broken.__name__}", "no such layer"),
        ("nowhere_at_all:x", "No module named"),
    ],
)
def test_a_shadow_that_fails_costs_the_observation_nothing(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path, name: str, reason: str
) -> None:
    queue_river(engine, url, make_profile(tmp_path), DarkWater.version, (1985,))
    assert _work(engine, settings.model_copy(update={"shadow": name})) == 1
    (row,) = _rows(engine, COMPARISONS)
    assert row["target"] is None
    assert reason in row["reason"]
    assert all(
        row["evidence"] is not None and row["shadow_share"] is None for row in _rows(engine, DETECTIONS)
    )


def test_a_second_model_can_be_the_shadow(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    """The same model agrees with itself; a watch may leave the shadow of the settings out."""
    name = "tests.integration.inference.test_second_opinion:Twin"
    queue_river(engine, url, make_profile(tmp_path), DarkWater.version, (1985,))
    _work(engine, settings.model_copy(update={"shadow": name}))
    (row,) = _rows(engine, COMPARISONS)
    assert row["iou"] == pytest.approx(1)
    assert row["only_primary_m2"] + row["only_shadow_m2"] == pytest.approx(0)
    queue_river(engine, url, make_profile(tmp_path), DarkWater.version, (2015,), shadow="none")
    _work(engine, settings.model_copy(update={"shadow": name}))
    assert len(_rows(engine, COMPARISONS)) == 1


def test_a_shadow_that_became_the_main_segmenter_says_so(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    name = f"{DarkWater.__module__}:{DarkWater.__name__}"
    queue_river(engine, url, make_profile(tmp_path), DarkWater.version, (1985,))
    _work(engine, settings.model_copy(update={"shadow": name}))
    (row,) = _rows(engine, COMPARISONS)
    assert row["target"] is None
    assert f"it is the main segmenter, too ({DarkWater.version})" in row["reason"]


class Twin(DarkWater):
    """The main segmenter under another name, with other tiles."""

    version = "twin@1"
    tile_px = 96


class Blind(DarkWater):
    """The same model once it finds nothing any more."""

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """Find nothing."""
        return super().segment([np.full_like(tile, 255) for tile in tiles], instructions)


@pytest.mark.parametrize("evidence", [False, True])
def test_what_is_not_found_any_more_is_not_gone_where_the_index_still_shows_it(
    engine: Engine, settings: FlowSettings, tmp_path: Path, evidence: bool
) -> None:
    """A model that misses an object in scene after scene is not believed against a water index that did not change."""
    years, profile = range(2010, 2020), make_profile(tmp_path)
    same = (DATA / "pucallpa-2015.tif").read_bytes()
    with serving_river({str(year): same for year in years}) as url:
        queue_river(engine, url, profile, DarkWater.version, years[:5], evidence=evidence)
        _work(engine, settings)
        queue_river(engine, url, profile, DarkWater.version, years[5:], evidence=evidence)
        _work(engine, settings, Blind())
    gone = _rows(engine, "SELECT status, confidence, evidence FROM watch.changes WHERE kind = 'disappeared'")
    clear = [row for row in gone if not evidence or row["evidence"]["after"]["mndwi"] > 0.14]
    assert len(clear) > 5
    confirmed = [row for row in clear if row["status"] == "confirmed"]
    if evidence:
        assert confirmed == []
        assert max(row["confidence"] for row in clear) < 0.5
    else:
        assert len(confirmed) > 3, "without an index, five misses in a row are a loss"


class Strict(DarkWater):
    """Takes tiles of its own size only, as models do that resize others."""

    version = "strict@1"
    tile_px = 64

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """Mark what is dark; tiles of another size have nothing."""
        fits = all(tile.shape[:2] == (self.tile_px, self.tile_px) for tile in tiles)
        return super().segment(tiles if fits else [np.full_like(tile, 255) for tile in tiles], instructions)


def test_a_shadow_sees_the_tiles_that_it_would_see_by_itself(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    profile = make_profile(tmp_path)
    queue_river(engine, url, profile, Strict.version, (1985,), name="alone")
    _work(engine, settings, Strict())
    mains: tuple[Segmenter | InstructionSegmenter, ...] = (load_named("spectral"), Twin())
    for number, main in enumerate(mains):
        queue_river(engine, url, profile, main.version, (1985,), name=f"beside-{number}")
        shadow = f"{Strict.__module__}:{Strict.__name__}"
        _work(engine, settings.model_copy(update={"shadow": shadow}), main)
    (alone,) = _rows(engine, "SELECT sum(area_m2) AS m2 FROM watch.detections WHERE watch = 'alone'")
    shadows = _rows(engine, "SELECT both_m2 + only_shadow_m2 AS m2 FROM watch.shadow_comparisons")
    assert alone["m2"] > 1e6
    assert [one["m2"] for one in shadows] == pytest.approx([alone["m2"]] * 2, rel=0.02)


def test_spectral_segments_by_itself(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    spectral = load_named("spectral")
    queue_river(engine, url, make_profile(tmp_path), spectral.version, evidence=False)
    assert _work(engine, settings, spectral) == 2
    found = _rows(engine, DETECTIONS)
    assert sum(row["area_m2"] for row in found) > 1e7
    assert all(row["evidence"] is None for row in found), "the watch asked for none"
    (row,) = _rows(engine, "SELECT array_agg(DISTINCT answer) AS texts FROM segwatch.observation")
    assert _rows(engine, "SELECT * FROM segwatch.index_cells") == [], "the watch asked for none"
    assert all(one.startswith("water: mndwi > 0.") for one in row["texts"])
    chips = _rows(engine, "SELECT observation_id FROM segwatch.observation_chip")
    assert len({one["observation_id"] for one in chips}) == 2, (
        "every observation can be registered by its pixels"
    )


def test_spectral_sees_that_the_last_water_is_gone(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    spectral = load_named("spectral")
    years = (2015, *DRY_YEARS)
    queue_river(engine, url, make_profile(tmp_path), spectral.version, years, evidence=False)
    assert _work(engine, settings, spectral) == 3
    rows = _rows(engine, "SELECT state, answer FROM segwatch.observation")
    assert [row["state"] for row in rows] == ["observed"] * 3
    assert sum("clearly below" in row["answer"] for row in rows) == 2
    assert _rows(engine, "SELECT track_id FROM watch.objects_now") == []
    kinds = _rows(engine, "SELECT DISTINCT kind FROM watch.changes WHERE NOT baseline")
    assert {row["kind"] for row in kinds} == {"disappeared"}


def test_the_way_a_scene_is_cut_changes_neither_polygons_nor_evidence(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spectral, profile = load_named("spectral"), make_profile(tmp_path)
    queue_river(engine, url, profile, spectral.version, (1985,), name="whole")
    _work(engine, settings, spectral)
    monkeypatch.setattr(SpectralSegmenter, "tile_px", 48)
    monkeypatch.setattr(drain, "split_grid", lambda grid, side: tiled.split_grid(grid, side, 64))
    queue_river(engine, url, profile, spectral.version, (1985,), name="cut")
    _work(engine, settings, spectral)
    query = "SELECT area_m2, evidence FROM watch.detections WHERE watch = '{}' AND area_m2 > 2e5 ORDER BY 1"
    whole, cut = (_rows(engine, query.format(name)) for name in ("whole", "cut"))
    assert whole
    # windows of a file in degrees are resampled a hair differently
    assert [row["area_m2"] for row in cut] == pytest.approx([row["area_m2"] for row in whole], rel=0.05)
    for one, other in zip(cut, whole, strict=True):
        means, same = (
            {k: v for k, v in row["evidence"].items() if "pixels" not in k} for row in (one, other)
        )
        assert means == pytest.approx(same, abs=0.02)
    frames = _rows(engine, "SELECT DISTINCT cell_m, width, height FROM segwatch.index_cells")
    assert [one["cell_m"] for one in frames] == [90.0], "a pixel, however far the tiles reach beyond the area"


def test_spectral_observes_nothing_where_it_has_no_opinion(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    spectral = load_named("spectral")
    forest = Instruction("segment the forest", ("forest",))
    queue_river(engine, url, make_profile(tmp_path), spectral.version, (1985,), instruction=forest)
    assert _work(engine, settings, spectral) == 0
    (row,) = _rows(engine, "SELECT state, reason FROM watch.coverage")
    assert row["state"] == "skipped"
    assert "no opinion on forest" in row["reason"]


def test_a_source_without_the_bands_costs_nothing(
    engine: Engine, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    queue_river(engine, url, make_profile(tmp_path, spectral=False), DarkWater.version)
    assert _work(engine, settings) == 2
    assert all(row["evidence"] is None for row in _rows(engine, f"{DETECTIONS}"))
    (count,) = _rows(engine, "SELECT count(*) AS n FROM segwatch.index_cells")
    assert count["n"] == 0
    assert all(row["evidence"] is None for row in _rows(engine, CHANGES))


def test_the_command_compares_before_a_switch(
    engine: Engine, database: Any, settings: FlowSettings, url: str, tmp_path: Path
) -> None:
    def run(*arguments: str) -> Any:
        given = {"SEGWATCH_DATABASE_URL": database.url()}
        return CliRunner().invoke(app, ["watch", "compare", *arguments], env=given)

    assert "no watch" in run("river").output
    profile = make_profile(tmp_path)
    once = TrackingSettings(gone_after=1, tolerance_m=90.0)
    queue_river(engine, url, profile, DarkWater.version, shadow="spectral", tracking=once)
    assert "nothing was compared yet" in run("river").output
    _work(engine, settings)
    page = tmp_path / "comparison.html"
    shown = run("river", "--html", str(page))
    assert shown.exit_code == 0, shown.output
    assert "\nwater\t2\t" in shown.stdout
    assert "main only" in shown.stdout
    document = json.loads(run("river", "--json", "--limit", "3").stdout)
    (water,) = document["targets"]
    assert water["target"] == "water"
    assert water["scenes"] == 2
    assert water["iou"] > 0.75
    for count in ("lost_count", "gained_count", "changed_count"):
        assert water[count] == sum(row[count] for row in document["scenes"])
    assert 0 < water["lost_count"] + water["gained_count"] < water["primary_count"] + water["shadow_count"]
    assert water["area_change_m2"] == pytest.approx(water["only_shadow_m2"] - water["only_primary_m2"])
    assert (document["compared"], document["observed"], document["share"]) == (2, 2, 1)
    now = _rows(engine, "SELECT track_id FROM watch.objects_now")
    every = _rows(engine, "SELECT DISTINCT track_id FROM watch.detections WHERE shadow_share IS NOT NULL")
    assert 0 < water["found_objects"] <= water["objects"] <= len(now) < len(every)
    assert {row["track_id"] for row in document["objects"]} <= {str(row["track_id"]) for row in now}
    assert "objects_found_by_both" in shown.stdout
    assert len(document["places"]) == 3
    assert len(document["scenes"]) == 2
    html = page.read_text()
    assert "Where they differ most" in html
    assert "spectral 2" in html
