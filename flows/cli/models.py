"""``segwatch model``: checkpoints and their exactness."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from segwatch.flows.cli.console import clear_errors, err, out, print_json

app = typer.Typer(no_args_is_help=True, help="The segmentation model.")


class Precision(StrEnum):
    """How numbers are kept."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@app.command()
def parity(
    directory: Annotated[
        Path, typer.Argument(help="folder with config.json, weights.safetensors, stages.safetensors")
    ],
    tolerance: Annotated[float, typer.Option(help="largest absolute difference allowed")] = 1e-4,
    precision: Annotated[
        Precision, typer.Option("--dtype", help="of language model and vision tower")
    ] = Precision.FLOAT32,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Compare every stage of the model with a reference; exit status 1 past the tolerance."""
    import torch

    from segwatch.model.parity import compare

    with clear_errors():
        stages = compare(directory, getattr(torch, precision))
    worst = max((stage.max_abs_diff for stage in stages), default=float("inf"))
    if as_json:
        rows = [{"stage": s.stage, "shape": list(s.shape), "max_abs_diff": s.max_abs_diff} for s in stages]
        print_json({"tolerance": tolerance, "worst": worst, "stages": rows})
    else:
        table = Table("stage", "shape", "largest |difference|", "")
        for stage in stages:
            verdict = "ok" if stage.max_abs_diff <= tolerance else "[red]past the tolerance[/red]"
            table.add_row(stage.stage, "x".join(map(str, stage.shape)), f"{stage.max_abs_diff:.2e}", verdict)
        out.print(table)
    if not worst <= tolerance:
        raise typer.Exit(1)


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(help="folder of the official checkpoint: *.bin or *.safetensors, tokenizer files"),
    ],
    target: Annotated[Path, typer.Argument(help="folder to write; must not exist")],
    config: Annotated[
        Path | None,
        typer.Option(help="config.json in this project's form, for weights of other than the official size"),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option("--dtype", help="store as; as it is by default")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Turn an official checkpoint into this project's safetensors; every key is accounted for.

    Nothing in the files is executed. LoRA weights must have been merged before.
    """
    import torch

    from segwatch.model.convert import convert as run

    with clear_errors(), Progress(console=err, transient=True) as progress:
        task = progress.add_task("converting", total=None)
        report = run(
            source,
            target,
            config_file=config,
            dtype=None if precision is None else getattr(torch, precision),
            on_file=lambda done, files: progress.update(task, completed=done, total=files),
        )
    if as_json:
        print_json(
            {
                "target": str(target),
                "version": report.version,
                "keys": report.keys,
                "unused": list(report.unused),
                "parameters": report.parameters,
            }
        )
        return
    out.print(
        f"{target}: {report.version}, {report.keys} keys, {report.parameters / 1e9:.2f} billion parameters"
    )
    if report.unused:
        out.print(
            f"left out, because no forward pass reads them: {len(report.unused)} keys (--json lists them)"
        )
    out.print(f"use it: export SEGWATCH_MODEL_PATH={target}", soft_wrap=True)
