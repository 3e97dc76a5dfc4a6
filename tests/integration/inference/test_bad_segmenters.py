"""What does not fit in a segmenter of an operator's own is refused in a sentence, and costs only its own scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.inference.segmenters import adapt
from segwatch.geo.types.segmentation import SegmentationRequest
from tests.support import bad_segmenters as bad
from tests.support import local_pictures as pictures
from tests.support.images import textured
from tests.support.serving import serving_files
from tests.support.small_queue import queue


@pytest.mark.parametrize("kind", bad.SPOILED, ids=lambda kind: kind.__name__)
def test_an_answer_that_does_not_fit_is_the_reason_and_the_run_goes_on(
    engine: Engine, kind: type[bad.Bad]
) -> None:
    settings = load_settings().model_copy(update={"linger_seconds": 0.0, "evidence": "none"})
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, kind.version, name="odd", words="the odd one", priority=900)
        queue(engine, files.url, kind.version, name="plain")
        done = Drain(engine, kind(), settings).run()
    assert (done.failed, done.inferred) == (1, 1)
    with engine.connect() as conn:
        (reason,) = conn.execute(
            text(
                "SELECT o.reason FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id"
                " WHERE w.name = 'odd'"
            )
        ).scalars()
    assert bad.SPOILED[kind] in reason


def _try(folder: Path, monkeypatch: pytest.MonkeyPatch, factory: str) -> str:
    """What ``segwatch try`` says with a factory of the table on a small picture."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEGWATCH_HOME", str(folder / "home"))
    monkeypatch.setenv("SEGWATCH_SEGMENTER", f"tests.support.bad_segmenters:{factory}")
    pictures.write_plain(folder / "a.tif", pictures.paint((60, 80), (20, 20, 10)))
    done = CliRunner().invoke(app, ["try", "a.tif", "segment the odd one"], env={"COLUMNS": "1000"})
    assert done.exit_code == 1, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize("kind", [bad.NotFinite, bad.Leaves], ids=lambda kind: kind.__name__)
def test_a_trial_says_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[bad.Bad]
) -> None:
    assert bad.SPOILED[kind] in _try(tmp_path, monkeypatch, kind.__name__)


@pytest.mark.parametrize("factory", bad.UNUSABLE)
def test_a_segmenter_that_cannot_be_used_is_refused_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str
) -> None:
    assert bad.UNUSABLE[factory] in _try(tmp_path, monkeypatch, factory)


def test_masks_that_say_in_or_out_are_taken() -> None:
    tile = np.zeros((64, 64, 3), np.uint8)
    tile[:8] = 9
    ((found,),) = adapt(bad.Boolean()).segment([tile], [SegmentationRequest("odd", ("water",))])
    assert found.mask_logits.dtype == np.float32
    assert ((found.mask_logits > 0) == (np.arange(64) < 8)[None, :, None]).all()
