"""What a segmenter is asked, the presence that it states, and shadows on a share of the scenes, in a real drain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import reviews
from segwatch.db.reviews import Verdict
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference import watch_models
from segwatch.flows.inference.drain import Drain
from segwatch.flows.inference.segmenters import Tiles, get_model_version
from segwatch.flows.inference.shadow import Shadows
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.types.segmentation import PixelBox, SegmentationRequest, TilePrediction
from segwatch.geo.types.watch import Instruction
from tests.support.spectral_scenes import DarkWater, make_profile, queue_river, serving_river
from tests.support.tiny_sam3 import write_sam3

BOTH = Instruction("segment the water and the roads", ("water", "road"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of the scenes."""
    with serving_river() as found:
        yield found


class Sceptic:
    """Finds dark water, and marks everything as road, of which it says that there is none."""

    version, tile_px = "sceptic@1", 64

    def __init__(self) -> None:
        self.asked: set[SegmentationRequest] = set()

    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> list[list[TilePrediction]]:
        self.asked.update(requests)
        return [
            [self._predict((45 - tile[..., 0].astype(np.float32)) / 4, len(one.targets)) for one in requests]
            for tile in tiles
        ]

    def _predict(self, dark: Any, targets: int) -> TilePrediction:
        logits = np.stack([dark, np.full_like(dark, 8.0)]).astype(np.float32)[:targets]
        presence = (0.9 if (dark > 0).any() else 0.3, 0.2)[:targets]
        return TilePrediction(logits, "dark", presence=presence)


def _rows(engine: Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(text(query)).mappings()]


def test_presence_vetoes_masks_enters_scores_and_is_stored(engine: Engine, url: str, tmp_path: Path) -> None:
    settings = load_settings().model_copy(update={"linger_seconds": 0.0, "evidence": "none"})
    profile, segmenter = make_profile(tmp_path, spectral=False), Sceptic()
    queue_river(engine, url, profile, segmenter.version, (1985,), instruction=BOTH)
    assert Drain(engine, segmenter, settings).run().inferred == 1
    track_ready(engine)
    assert segmenter.asked == {SegmentationRequest(BOTH.text, BOTH.targets, profile.gsd_m)}
    found = _rows(engine, "SELECT target, score FROM watch.detections")
    assert {row["target"] for row in found} == {"water"}, "every road was vetoed"
    assert max(row["score"] for row in found) <= 0.9
    road, water = _rows(engine, "SELECT * FROM watch.presence ORDER BY target")
    assert (road["target"], road["presence"], road["tiles_present"]) == ("road", 0.2, 0)
    assert (water["target"], water["presence"]) == ("water", 0.9)
    assert 0 < water["tiles_present"] <= water["tiles"] == road["tiles"]
    assert (water["watch"], water["model"]) == ("river", segmenter.version)


def test_reviewed_objects_become_exemplars_on_the_tiles_that_show_them(
    engine: Engine, url: str, tmp_path: Path
) -> None:
    settings = load_settings().model_copy(update={"linger_seconds": 0.0, "evidence": "none"})
    profile, before, after = make_profile(tmp_path, spectral=False), Sceptic(), Sceptic()
    queue_river(engine, url, profile, before.version, (1985,))
    Drain(engine, before, settings.model_copy(update={"exemplars": 5})).run()
    track_ready(engine)
    assert all(not one.exemplars for one in before.asked), "nothing was reviewed yet"
    found = _rows(
        engine, "SELECT track_id, area_m2 FROM watch.detections WHERE area_m2 < 3e6 ORDER BY area_m2 DESC"
    )
    verdicts = {0: Verdict.CONFIRMED, 1: Verdict.REJECTED}
    with engine.begin() as conn:
        for at, verdict in verdicts.items():
            reviews.decide(conn, found[at]["track_id"], verdict, reviewer="ann", reason="seen")
    queue_river(engine, url, profile, after.version, (2015,))
    Drain(engine, after, settings.model_copy(update={"exemplars": 5})).run()
    shown = {one for request in after.asked for one in request.exemplars}
    assert {one.target for one in shown} == {"water"}
    for at, is_positive in ((0, True), (1, False)):
        sizes = [_measure_m2(one.box) for one in shown if one.is_positive is is_positive]
        # a box is at least as large as what it bounds; a tile shows at least half of it
        assert sizes
        assert max(sizes) >= 0.5 * found[at]["area_m2"]
    assert all(0 <= one.box.left < one.box.right <= after.tile_px for one in shown)
    assert all(0 <= one.box.top < one.box.bottom <= after.tile_px for one in shown)


def _measure_m2(box: PixelBox) -> float:
    """Area of a box of pixels that are 90 m long."""
    return 8100 * (box.right - box.left) * (box.bottom - box.top)


def test_sam3_is_the_shadow_on_a_share_of_the_scenes(
    engine: Engine, database: Any, url: str, tmp_path: Path
) -> None:
    weights = write_sam3(tmp_path / "sam3")
    queue_river(engine, url, make_profile(tmp_path, spectral=False), DarkWater.version, shadow="sam3")
    ids = {row["id"] for row in _rows(engine, "SELECT id FROM segwatch.scene")}
    places = {one: int.from_bytes(hashlib.sha256(one.bytes).digest()[:8]) / 2**64 for one in ids}
    share = sum(places.values()) / len(places)
    settings = load_settings().model_copy(
        update={
            "linger_seconds": 0.0,
            "evidence": "none",
            "device": "cpu",
            "shadow_model_path": str(weights),
            "shadow_share": share,
        }
    )
    shadows = Shadows(settings)
    due = {one for one in ids if shadows.is_due(one)}
    assert due == {one for one, place in places.items() if place < share}
    assert Drain(engine, DarkWater(), settings).run().inferred == 2
    track_ready(engine)
    rows = _rows(engine, "SELECT * FROM watch.shadow_comparisons")
    assert {row["scene_id"] for row in rows} == due
    version = get_model_version(settings.model_copy(update={"model": "sam3", "model_path": str(weights)}))
    assert {row["shadow"] for row in rows} == {version}
    assert {row["share"] for row in rows} == {share}
    assert all(row["reason"] is None for row in rows), rows
    assert not _rows(engine, "SELECT * FROM watch.presence"), "a shadow's is not stored"
    given = {"SEGWATCH_DATABASE_URL": database.url()}
    shown = CliRunner().invoke(app, ["watch", "compare", "river"], env=given)
    assert shown.exit_code == 0, shown.output
    assert "compared on 1 of" in shown.output


def test_a_watch_is_switched_to_sam3_by_its_folder(
    engine: Engine, database: Any, url: str, tmp_path: Path
) -> None:
    """The folder says what it holds, whatever the settings name; what its worker could not load is refused."""
    weights = write_sam3(tmp_path / "sam3")
    queue_river(engine, url, make_profile(tmp_path, spectral=False), DarkWater.version)
    settings = load_settings().model_copy(update={"device": "cpu"})

    def run(*words: str) -> str:
        given = {"SEGWATCH_DATABASE_URL": database.url(), "COLUMNS": "1000"}
        return CliRunner().invoke(app, ["model", *words], env=given).output

    sam3 = settings.model_copy(update={"model": "sam3", "model_path": str(weights)})
    version = get_model_version(sam3)
    assert f"river: switched to {version}" in run("switch", "river", str(weights), "--yes")
    with engine.connect() as conn:
        ((found, chosen),) = watch_models.list_models(conn, settings, "river")
    assert (found, watch_models.load_model(settings, chosen).version) == (version, version)
    assert "river uses SAM 3, which segwatch cannot train" in run(
        "adapt", "river", "--out", str(tmp_path / "out")
    )
    config = weights / "config.json"
    config.write_text(config.read_text().replace('"vocab_size": 54', '"vocab_size": 55'))
    refused = run("switch", "river", str(weights), "--yes")
    assert "token_embedding.weight (54, 32) instead of (55, 32)" in refused
    assert f"rolled back from {version}" in run("rollback", "river", "--yes")
