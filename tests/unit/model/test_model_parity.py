"""This implementation against the reference's recorded numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from segwatch.model import parity
from segwatch.model.errors import CheckpointError


@pytest.fixture(scope="module")
def diffs(oracle: Path) -> dict[str, parity.StageDiff]:
    return {diff.stage: diff for diff in parity.compare_with_reference(oracle)}


def test_every_stage_is_within_tolerance(diffs: dict[str, parity.StageDiff]) -> None:
    assert len(diffs) == 40
    assert {stage: diff.max_abs_diff for stage, diff in diffs.items() if not diff.max_abs_diff <= 1e-4} == {}


@pytest.mark.parametrize(
    "stage", ["generated_ids.0", "generated_ids.1", "generated_masks.0", "generated_masks.1"]
)
def test_generated_text_is_equal(diffs: dict[str, parity.StageDiff], stage: str) -> None:
    assert diffs[stage].max_abs_diff == 0.0


def test_half_precision_keeps_text_and_nearly_all_pixels(oracle: Path) -> None:
    """What CUDA workers use: the language half in bfloat16, scores and the mask branch in float32."""
    diffs = {diff.stage: diff.max_abs_diff for diff in parity.compare_with_reference(oracle, torch.bfloat16)}
    assert max(diffs.values()) < 0.13
    assert {diffs[f"generated_ids.{image}"] for image in (0, 1)} == {0.0}
    assert max(diffs[f"generated_masks.{image}"] for image in (0, 1)) < 1e-3


def test_an_incomplete_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors, stages\.safetensors"):
        parity.compare_with_reference(tmp_path)


def test_a_thinned_stage_is_still_compared(oracle: Path, tmp_path: Path) -> None:
    """A thinned stage that differs in one channel, in an element that is not sampled, or in shape is found."""
    shutil.copytree(oracle, tmp_path, dirs_exist_ok=True)
    stages = load_file(oracle / "stages.safetensors")
    stages["mean.mask_features.1"][5] += 0.01
    stages["sampled.swin.res2"][7] += 0.01
    stages["shape.hidden_states.1"][0] += 1
    save_file(stages, tmp_path / "stages.safetensors")
    found = {diff.stage: diff.max_abs_diff for diff in parity.compare_with_reference(tmp_path)}
    wrong = {stage: distance for stage, distance in found.items() if not distance <= 1e-4}
    assert wrong == {
        "mask_features": pytest.approx(0.01, abs=1e-4),
        "swin.res2": pytest.approx(0.01, abs=1e-4),
        "hidden_states.1": float("inf"),
    }
