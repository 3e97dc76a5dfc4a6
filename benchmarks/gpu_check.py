"""Run the parts of ``gpu_check.sh``, each in a process of its own with a time limit, and collect their results.

This file imports nothing but the standard library, so that it can say what a machine lacks.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MAX_PACKED_BYTES = 64 * 2**20
_CODE = ("model", "benchmarks", ".dev", "pyproject.toml")
CARRIED = {
    "check": (*_CODE, "tests/data/oracle", "tests/support/oracle.py", "tests/support/paths.py"),
    "train": _CODE,
}
"""Files and folders of the tree that each of the two calls needs."""
_MODEL = ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub", "numpy")
_LEFT_OUT = ("__pycache__", ".pyc")


@dataclass(frozen=True)
class Part:
    """One part of the check."""

    name: str
    seconds: int
    """Time limit, start of the process included."""
    modules: tuple[str, ...]
    """Packages that it needs."""


PARTS = (
    Part("parity", 75, _MODEL),
    Part("shared", 210, (*_MODEL, "rich")),
    Part("memory", 90, (*_MODEL, "rich")),
    Part("compile", 150, (*_MODEL, "rich")),
)
TRAINING = Part("train", 540, (*_MODEL, "accelerate", "peft", "pydantic", "PIL", "scipy"))
_START_SECONDS = 5  # a part with less time left is not started


def main(arguments: list[str] | None = None) -> int:
    """Run the check; return the exit status, 0 if every part is done."""
    options = _parse(arguments)
    if options.pack is not None:
        return _pack(options)
    parts = _choose_parts(options)
    deadline = time.monotonic() + options.seconds
    machine = _describe_machine(options.device)
    file = options.out / f"{machine['slug']}.json"
    document = _read(file)
    document.update({key: value for key, value in machine.items() if key != "slug"})
    for part in parts:
        if not options.again and document["parts"].get(part.name, {}).get("state") == "done":
            print(f"{part.name}: done before", flush=True)
            continue
        state = options.work / machine["slug"]
        document["parts"][part.name] = _run_part(part, options, state, deadline)
        _write(file, document)
        print(f"{part.name}: {json.dumps(document['parts'][part.name])}", flush=True)
    print(f"results: {file}", flush=True)
    return 0 if all(document["parts"][part.name]["state"] == "done" for part in parts) else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu_check.sh", description=main.__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes; runs on a CPU")
    parser.add_argument("--seconds", type=float, default=540.0, help="time limit of the whole check")
    parser.add_argument("--parts", help="comma-separated; default: all but training")
    parser.add_argument("--again", action="store_true", help="measure again what is measured")
    parser.add_argument(
        "--train", type=Path, help="packed archive of the labelled sets: train, and nothing else"
    )
    parser.add_argument("--start", type=Path, help="folder of the model to go on from")
    parser.add_argument("--work", type=Path, default=ROOT / ".gpu-check", help="states and temporary files")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the results"
    )
    parser.add_argument(
        "--pack", type=Path, metavar="FILE", help="only pack what must travel into a .tar.gz file"
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels to pack")
    return parser.parse_args(arguments)


def _choose_parts(options: argparse.Namespace) -> list[Part]:
    if options.train is not None and options.parts is None:
        return [TRAINING]
    names = [part.name for part in PARTS] if options.parts is None else options.parts.split(",")
    known = {part.name: part for part in (*PARTS, TRAINING)}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"unknown part {', '.join(unknown)}; known are {', '.join(known)}")
    if "train" in names and options.train is None:
        raise SystemExit("the part train needs --train FILE, the packed archive of the labelled sets")
    return [known[name] for name in names]


def _describe_machine(device: str) -> dict[str, Any]:
    """Describe card and versions, in a process of its own because torch may be missing or broken."""
    code = (
        "import json, platform, torch\n"
        "c = torch.cuda.is_available()\n"
        "print(json.dumps({'torch': torch.__version__, 'cuda': torch.version.cuda, 'available': c,\n"
        " 'card': torch.cuda.get_device_name() if c else None,\n"
        " 'memory_gib': round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if c else None}))"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found: dict[str, Any] = {
        "torch": None,
        "cuda": None,
        "available": False,
        "card": None,
        "memory_gib": None,
    }
    if asked.returncode == 0:
        found = json.loads(asked.stdout.splitlines()[-1])
    elif importlib.util.find_spec("torch") is not None:
        found["torch"] = f"broken: {asked.stderr.strip().splitlines()[-1][:200]}"
    if device.startswith("cuda") and not found["available"]:
        print(
            f"no CUDA: torch {found['torch']} sees no GPU; install a CUDA build of torch, or use --device cpu --quick"
        )
    name = found["card"] if device.startswith("cuda") and found["card"] else "cpu"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return {
        "device": name,
        "cores": os.cpu_count(),
        **found,
        "slug": slug if device.startswith("cuda") else "cpu",
    }


def _run_part(part: Part, options: argparse.Namespace, work: Path, deadline: float) -> dict[str, Any]:
    """Run a part; figures of an interrupted run are kept, so that it goes on from there."""
    if missing := [name for name in part.modules if importlib.util.find_spec(name) is None]:
        return {"state": "not possible", "why": f"not installed: {', '.join(missing)}; see --wheels"}
    limit = min(part.seconds, deadline - time.monotonic())
    if limit < _START_SECONDS:
        return {"state": "not started", "why": "no time left; run the same command again"}
    work.mkdir(parents=True, exist_ok=True)
    result = work / f"{part.name}.json"
    if options.again:
        result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "segwatch.benchmarks.gpu_parts", part.name, "--device", options.device]
    command += ["--result", str(result), "--work", str(work), "--seconds", str(limit)]
    command += ["--quick"] if options.quick else []
    command += ["--train", str(options.train)] if options.train is not None else []
    command += ["--start", str(options.start)] if options.start is not None else []
    begun = time.monotonic()
    state, told = _wait(command, limit)
    kept = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    why = {} if state == "done" else {"why": told}
    return {"state": state, "seconds": round(time.monotonic() - begun, 1), **why, **kept}


def _wait(command: list[str], limit: float) -> tuple[str, str]:
    """Run a command in a session of its own; past its limit, end it and what it started."""
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        told, _ = running.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return "time limit", f"stopped after {limit:.0f} s; what it had measured is kept"
    lines = [line for line in told.splitlines() if line.strip()]
    return ("done", "") if running.returncode == 0 else ("failed", " / ".join(lines[-3:])[-600:])


def _read(file: Path) -> dict[str, Any]:
    if file.exists():
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return document
    return {"parts": {}}


def _write(file: Path, document: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, file)


def list_carried(call: str) -> Iterator[Path]:
    """List the files of the tree that a call ("check" or "train") needs; links count as themselves."""
    for name in CARRIED[call]:
        path = ROOT / name
        for file in [path] if not path.is_dir() else sorted(path.rglob("*")):
            is_file = file.is_symlink() or file.is_file()
            if is_file and not any(part in str(file) for part in _LEFT_OUT) and file.suffix != ".partial":
                yield file


def _pack(options: argparse.Namespace) -> int:
    """Write what must travel into one file."""
    call = "train" if options.train is not None else "check"
    extra = {"": options.train, "start": options.start, "wheels": options.wheels}
    partial = options.pack.with_name(options.pack.name + ".partial")
    with tarfile.open(partial, "w:gz") as archive:
        for file in list_carried(call):
            archive.add(file, str(file.relative_to(ROOT)))
        for name, path in extra.items():
            if path is not None:
                archive.add(path, name or path.name)
    size = partial.stat().st_size
    if size > MAX_PACKED_BYTES:
        partial.unlink()
        raise SystemExit(
            f"{size / 2**20:.1f} MiB are more than {MAX_PACKED_BYTES // 2**20}: pack fewer wheels or pictures"
        )
    os.replace(partial, options.pack)
    print(f"{options.pack}: {size / 2**20:.1f} MiB; there: tar xzf FILE && benchmarks/gpu_check.sh", end="")
    print(f" --train {options.train.name}" if options.train is not None else "", end="")
    print(" --start start" if options.start is not None else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
