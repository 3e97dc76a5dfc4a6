"""This implementation against the reference's recorded numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segwatch.model import parity
from segwatch.model.errors import CheckpointError

ORACLE = Path(__file__).parents[2] / "data" / "oracle"


@pytest.fixture(scope="module")
def diffs() -> dict[str, parity.StageDiff]:
    return {diff.stage: diff for diff in parity.compare(ORACLE)}


def test_every_stage_is_within_tolerance(diffs: dict[str, parity.StageDiff]) -> None:
    assert len(diffs) == 40
    assert {stage: diff.max_abs_diff for stage, diff in diffs.items() if not diff.max_abs_diff <= 1e-4} == {}


@pytest.mark.parametrize(
    "stage", ["generated_ids.0", "generated_ids.1", "generated_masks.0", "generated_masks.1"]
)
def test_generated_answers_are_equal(diffs: dict[str, parity.StageDiff], stage: str) -> None:
    assert diffs[stage].max_abs_diff == 0.0


def test_half_precision_says_the_same_and_moves_hardly_a_pixel() -> None:
    """What CUDA workers use: the language half in bfloat16, scores and the mask branch in float32."""
    diffs = {diff.stage: diff.max_abs_diff for diff in parity.compare(ORACLE, torch.bfloat16)}
    assert max(diffs.values()) < 0.13
    assert {diffs[f"generated_ids.{image}"] for image in (0, 1)} == {0.0}
    assert max(diffs[f"generated_masks.{image}"] for image in (0, 1)) < 1e-3


def test_an_incomplete_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors, stages\.safetensors"):
        parity.compare(tmp_path)
