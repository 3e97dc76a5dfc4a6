"""What is run on a rented GPU runs here on a CPU in small sizes, from nothing but what travels."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from segwatch.benchmarks import gpu_check, gpu_parts
from segwatch.model import model_version, pretrained
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import archive, mask_stage, scenes
from segwatch.model.train.labelled_sample import LabelledPicture
from tests.support.paths import ROOT


def _check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "benchmarks" / "gpu_check.sh"), "--device", "cpu", "--quick", *arguments],
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def _unpack(file: Path, folder: Path) -> Path:
    with tarfile.open(file) as packed:
        packed.extractall(folder, filter="tar")
    return folder


def test_the_check_runs_from_what_travels_and_is_not_repeated(tmp_path: Path) -> None:
    assert gpu_check.main(["--pack", str(tmp_path / "check.tar.gz")]) == 0
    there = _unpack(tmp_path / "check.tar.gz", tmp_path / "there")
    done = _check(there, "--parts", "shared")
    assert done.returncode == 0, done.stdout + done.stderr
    file = there / "benchmarks" / "results" / "cpu.json"
    found = json.loads(file.read_text())
    shared = found["parts"]["shared"]
    assert shared["state"] == "done"
    assert shared["texts_equal_k4"]
    assert shared["masks_equal_k4"] == 1.0
    assert 0 < shared["flop_share_k4"] < 1.5
    assert shared["words_bandwidth_share_k4"] > 0
    again = _check(there, "--parts", "shared,parity", "--seconds", "1")
    assert again.returncode == 1
    assert "shared: done before" in again.stdout
    parts = json.loads(file.read_text())["parts"]
    assert parts["shared"] == shared
    assert parts["parity"]["state"] == "not started"


def test_figures_are_measured_and_kept(tmp_path: Path) -> None:
    options = argparse.Namespace(work=tmp_path, device="cpu", quick=True)
    figures = gpu_parts.Figures(tmp_path / "figures.json")
    for measure in (gpu_parts.check_parity, gpu_parts.measure_memory, gpu_parts.measure_compile):
        measure(options, figures)
    kept = json.loads((tmp_path / "figures.json").read_text())
    assert kept == figures.values
    assert kept["float32_worst"] <= 1e-4 < kept["bfloat16_worst"]
    assert kept["float32_within_tolerance"]
    assert kept["bfloat16_within_tolerance"]
    assert kept["results"] == 3 * 8
    assert kept["pixels_equal_least"] > 0.999
    assert kept["texts_equal"]


def test_training_goes_on_from_a_packed_archive(tmp_path: Path) -> None:
    pictures = []
    for number in range(14):
        rng, target = np.random.default_rng(number), scenes.TARGETS[number % len(scenes.TARGETS)]
        label = (scenes.make_fractal(rng, 128, 2.5) > 0.6).astype(np.int8)
        rgb = np.clip(50 + 150.0 * label[:, :, None] + rng.normal(0, 3, (128, 128, 3)), 0, 255).astype(
            np.uint8
        )
        others = tuple(name for name in scenes.TARGETS if name != target)
        for part in range(4):
            place = f"{target} {number} {part}"
            pictures.append(LabelledPicture("toy", place, 10.0, rgb, {target: label}, others))
    archive.write_archive(pictures, tmp_path / "training.zip")
    shipped = pretrained.load_pretrained(model_version.SHIPPED_MODEL, "cpu")
    start = SegEarthR2(mask_stage.make_lite_config(shipped.model.config, len(scenes.TARGETS)))
    pretrained.save_pretrained(start, shipped.tokenizer, tmp_path / "start", torch.float16)
    pack = ["--pack", str(tmp_path / "train.tar.gz"), "--train", str(tmp_path / "training.zip")]
    assert gpu_check.main([*pack, "--start", str(tmp_path / "start")]) == 0
    there = _unpack(tmp_path / "train.tar.gz", tmp_path / "there")
    assert not (there / "tests").exists()
    command = (
        "--train",
        str(there / "training.zip"),
        "--start",
        str(there / "start"),
        "--work",
        str(tmp_path / "work"),
    )
    done = _check(there, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((there / "benchmarks" / "results" / "cpu.json").read_text())["parts"]["train"]
    assert (found["steps"], found["of"]) == (6, 6)
    assert (tmp_path / "work" / "cpu" / "model" / "model.safetensors").exists()
    assert (tmp_path / "work" / "cpu" / "state" / "training.pt").exists()


def test_what_travels_leaves_room_and_leaves_behind_what_is_not_needed(tmp_path: Path) -> None:
    sizes = {
        call: {
            path.relative_to(ROOT).as_posix(): path.lstat().st_size for path in gpu_check.list_carried(call)
        }
        for call in ("check", "train")
    }
    assert sum(sizes["check"].values()) < 32 * 2**20
    # the rest is for the pictures and the model to go on from
    assert sum(sizes["train"].values()) < 20 * 2**20
    assert not any(name.startswith(("tests/", "demo/")) for name in sizes["train"])
    assert "tests/data/oracle/stages.safetensors" in sizes["check"]
    large = tmp_path / "large.zip"
    large.write_bytes(np.random.default_rng(0).bytes(gpu_check.MAX_PACKED_BYTES))
    with pytest.raises(SystemExit, match="are more than 64: pack fewer wheels or pictures"):
        gpu_check.main(["--pack", str(tmp_path / "x.tar.gz"), "--train", str(large)])
    assert not list(tmp_path.glob("x.tar.gz*"))


def test_a_part_that_hangs_or_cannot_run_is_told(tmp_path: Path) -> None:
    begun = time.monotonic()
    state, why = gpu_check._wait([sys.executable, "-c", "import time; time.sleep(600)"], 2.0)
    assert (state, why.startswith("stopped after 2 s")) == ("time limit", True)
    assert time.monotonic() - begun < 300
    assert gpu_check._wait([sys.executable, "-c", "raise SystemExit('out of luck')"], 100.0) == (
        "failed",
        "out of luck",
    )
    options = argparse.Namespace(again=False)
    lacking = gpu_check.Part("shared", 9, ("torch", "no_such_package"))
    result = gpu_check._run_part(lacking, options, tmp_path, time.monotonic() + 9)
    assert result == {"state": "not possible", "why": "not installed: no_such_package; see --wheels"}
    for arguments, problem in (
        (["--parts", "speed"], "unknown part speed"),
        (["--parts", "train"], "needs --train FILE"),
    ):
        with pytest.raises(SystemExit, match=problem):
            gpu_check.main(arguments)
