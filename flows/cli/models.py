"""``segwatch model``: checkpoints and their exactness."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from segwatch.flows.cli.console import clear_errors, err, out, print_json
from segwatch.flows.config.settings import load_settings

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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Compare every stage of the model with a reference; exit status 1 past the tolerance."""
    import torch

    from segwatch.model.parity import compare

    with clear_errors():
        stages = compare(directory, getattr(torch, precision), device)
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

    from segwatch.model.checkpoint_conversion import convert as run

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


@app.command()
def assemble(
    mipha: Annotated[Path, typer.Option(help="folder of Mipha-3B: weights and tokenizer files")],
    siglip: Annotated[Path, typer.Option(help="folder of SigLIP so400m patch14-384")],
    mask2former: Annotated[Path, typer.Option(help=".pkl of Mask2Former, Swin-B, IN21k")],
    out_folder: Annotated[Path, typer.Option("--out", help="folder to write; must not exist")],
    config: Annotated[
        Path | None,
        typer.Option(help="config.json in this project's form, for parts of other than the official size"),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option("--dtype", help="store as; as it is by default")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Assemble SegEarth-R2 from its public parts, as the start of a training run; nothing in them is executed.

    The result is untrained: its masks mean nothing before `segwatch model train` has run on it.
    """
    import torch

    from segwatch.model.checkpoint_assembly import ACCOUNT
    from segwatch.model.checkpoint_assembly import assemble as run
    from segwatch.model.checkpoint_conversion import read_dimensions

    with clear_errors(), Progress(console=err, transient=True) as progress:
        task = progress.add_task("assembling", total=None)
        done = run(
            mipha,
            siglip,
            mask2former,
            out_folder,
            dimensions=None if config is None else read_dimensions(config),
            dtype=None if precision is None else getattr(torch, precision),
            on_key=lambda count, keys: progress.update(task, completed=count, total=keys),
        )
    if as_json:
        numbers = {part.value: count for part, count in done.parameters.items()}
        document = {"target": str(out_folder), "version": done.version, "parameters": numbers}
        print_json(document | done.account.to_dict())
        return
    table = Table("from", "parameters", "keys of it not used")
    for part, count in done.parameters.items():
        table.add_row(part.value, f"{count:,}", str(len(done.account.unused.get(part, ()))))
    out.print(table)
    out.print(f"{out_folder}: {done.version}, not trained; {ACCOUNT} tells where each parameter came from")
    out.print(
        "train it: segwatch model train RECIPE, with start.checkpoint naming this folder", soft_wrap=True
    )


@app.command("eval")
def evaluate(
    dataset: Annotated[str, typer.Option(help="lasers, earthreason, rrsis-d, risbench or refsegrs")],
    root: Annotated[Path, typer.Option(help="the data set's folder")],
    split: Annotated[str, typer.Option(help="as the data set names it")] = "test",
    model: Annotated[
        str | None, typer.Option(help="folder or hub id of a checkpoint; the configured one by default")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="only so many samples, from the beginning")] = None,
    destination: Annotated[
        Path, typer.Option("--out", help="folder for results.json, results.md and worst/*.png")
    ] = Path("evaluation"),
    worst: Annotated[int, typer.Option(min=0, help="how many of the worst to draw")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="print the results as one JSON document")] = False,
) -> None:
    """Measure the model on a public benchmark: gIoU, cIoU, mIoU, Pr@0.5 to 0.9, by group."""
    with clear_errors():
        settings = load_settings()
        from segwatch.model import model_version
        from segwatch.model.predictor import Predictor
        from segwatch.model.referring import layouts, score

        try:
            chosen = layouts.Dataset(dataset)
        except ValueError as error:
            known = ", ".join(layouts.Dataset)
            raise typer.BadParameter(f"{dataset!r} is none of {known}", param_hint="--dataset") from error
        samples = layouts.samples(chosen, root, split)[:limit]
        predictor = Predictor.load(
            model_version.resolve(model or settings.model_path),
            settings.device,
            dtype=None,
            memory_gib=settings.memory_gib,
        )
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task(f"{chosen}, {split}", total=len(samples))
            scores = score.score(
                predictor,
                samples,
                overlays=destination / "worst" if worst else None,
                worst=worst,
                on_sample=lambda: progress.advance(task),
            )
        document = score.report(scores, dataset=chosen, split=split, model=predictor.version)
        score.write(document, destination)
    if as_json:
        print_json({key: value for key, value in document.items() if key != "records"})
    else:
        out.print(score.markdown(document), markup=False)
        out.print(f"written to {destination}")
    if not scores.records:
        err.print("error: no sample could be read; see the reasons in results.json", markup=False)
        raise typer.Exit(1)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file, such as model/train/recipes/tiny.toml")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value; may be given several times")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="forget where an earlier run stopped")] = False,
) -> None:
    """Train a model; repeated, it goes on where it stopped.

    Several processes: torchrun --nproc_per_node N -m segwatch.flows.cli model train CONFIG.
    """
    log = logging.getLogger("segwatch.model")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    with clear_errors():
        from segwatch.model.train.config import load
        from segwatch.model.train.run import train as run

        chosen = load(config, changes or ())
        trainer = run(chosen, fresh=fresh)
    if trainer.accelerator.is_main_process:
        out.print(f"{chosen.run.out}: {trainer.progress.step} steps")
