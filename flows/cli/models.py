"""``segwatch model``: checkpoints and their exactness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from segwatch.flows.cli.console import clear_errors, err, out, print_json

app = typer.Typer(no_args_is_help=True, help="The segmentation model.")


@app.command()
def parity(
    directory: Annotated[
        Path, typer.Argument(help="folder with config.json, weights.safetensors, stages.safetensors")
    ],
    tolerance: Annotated[float, typer.Option(help="largest absolute difference allowed")] = 1e-4,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Compare every stage of the model with a reference; exit status 1 past the tolerance."""
    from segwatch.model.errors import ModelError
    from segwatch.model.parity import compare

    with clear_errors():
        try:
            stages = compare(directory)
        except ModelError as error:
            err.print(f"error: {error}", markup=False)
            raise typer.Exit(1) from error
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
