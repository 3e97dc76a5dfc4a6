"""``segwatch model``: convert, assemble, verify, evaluate and train checkpoints; see learning.py for the rest."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from segwatch.flows.cli import learning
from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    err,
    out,
    print_error,
    print_json,
    print_table,
    say,
)

app = typer.Typer(
    no_args_is_help=True, help="Convert, assemble, verify, evaluate, train, adapt and switch models."
)

Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="config.json in segwatch's format, for weights that are not of the official size.",
    ),
]


class Precision(StrEnum):
    """Floating-point type of weights."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@app.command()
def parity(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Folder with config.json, weights.safetensors and stages.safetensors."
        ),
    ],
    tolerance: Annotated[float, typer.Option(help="Largest absolute difference allowed.")] = 1e-4,
    precision: Annotated[
        Precision, typer.Option("--dtype", help="Precision of the language model and the vision tower.")
    ] = Precision.FLOAT32,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Compare every stage of the model with recorded outputs of the reference implementation.

    Exit status 1 if any stage differs by more than the tolerance.
    """
    import torch

    from segwatch.model.parity import compare_with_reference

    with clear_errors():
        stages = compare_with_reference(directory, getattr(torch, precision), device)
    worst = max((stage.max_abs_diff for stage in stages), default=float("inf"))
    if as_json:
        rows = [{"stage": s.stage, "shape": list(s.shape), "max_abs_diff": s.max_abs_diff} for s in stages]
        print_json({"tolerance": tolerance, "worst": worst, "stages": rows})
    else:
        cells = [
            (
                stage.stage,
                "x".join(map(str, stage.shape)),
                stage.max_abs_diff,
                "ok" if stage.max_abs_diff <= tolerance else "above the tolerance",
            )
            for stage in stages
        ]
        print_table(("stage", "shape", "largest difference", "result"), cells)
    if not worst <= tolerance:
        raise typer.Exit(1)


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of the official checkpoint: *.bin or *.safetensors, and tokenizer files.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder to create; it must not exist.")],
    config: Config = None,
    prompt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Prompt of these weights, with <image> and {instruction} in it. Default: the published one.",
        ),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option("--dtype", help="Precision to store. Default: unchanged.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert an official SegEarth-R2 checkpoint to segwatch's safetensors format.

    Every key of the checkpoint is accounted for, and no code in it is executed. Merge LoRA weights beforehand.
    """
    import torch

    from segwatch.model.checkpoint_conversion import convert_checkpoint as run

    with clear_errors(), Progress(console=err, transient=True) as progress:
        task = progress.add_task("converting", total=None)
        report = run(
            source,
            target,
            config_file=config,
            prompt_file=prompt,
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
                "repairs": list(report.repairs),
            }
        )
        return
    count, unit = (
        (report.parameters / 1e9, "billion")
        if report.parameters >= 1e9
        else (report.parameters / 1e6, "million")
    )
    out.print(f"{target}: {report.version}, {report.keys} keys, {count:.2f} {unit} parameters")
    for repair in report.repairs:
        out.print(f"repaired: {repair}", markup=False, soft_wrap=True)
    if report.unused:
        out.print(
            f"{len(report.unused)} keys left out, because the model does not use them (--json lists them)"
        )
    out.print(f"to use it: export SEGWATCH_MODEL_PATH={target}", soft_wrap=True)


@app.command()
def assemble(
    mipha: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of Mipha-3B: weights and tokenizer files.")
    ],
    siglip: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of SigLIP so400m patch14-384.")],
    mask2former: Annotated[
        Path, typer.Option(metavar="FILE", help="Mask2Former weights (.pkl), Swin-B pre-trained on IN21k.")
    ],
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder to create; it must not exist.")
    ],
    config: Config = None,
    precision: Annotated[
        Precision | None, typer.Option("--dtype", help="Precision to store. Default: unchanged.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Assemble an untrained SegEarth-R2 from its public parts, as the start of a training run.

    Its masks are meaningless until `segwatch model train` has trained it. No code in the parts is executed.
    """
    import torch

    from segwatch.model.checkpoint_assembly import ACCOUNT_FILE, TABLE_FILE
    from segwatch.model.checkpoint_assembly import assemble_checkpoint as run
    from segwatch.model.checkpoint_conversion import read_config_file

    with clear_errors(), Progress(console=err, transient=True) as progress:
        task = progress.add_task("assembling", total=None)
        done = run(
            mipha,
            siglip,
            mask2former,
            out_folder,
            dimensions=None if config is None else read_config_file(config),
            dtype=None if precision is None else getattr(torch, precision),
            on_key=lambda count, keys: progress.update(task, completed=count, total=keys),
        )
    if as_json:
        numbers = {part.value: count for part, count in done.parameters.items()}
        document = {"target": str(out_folder), "version": done.version, "parameters": numbers}
        print_json(document | done.account.to_dict())
        return
    cells = [
        (part.value, count, len(done.account.unused.get(part, ()))) for part, count in done.parameters.items()
    ]
    print_table(("part", "parameters", "unused keys"), cells)
    say(
        f"{out_folder}: {done.version}, not trained; {TABLE_FILE} and {ACCOUNT_FILE} say where parameters are from"
    )
    say("to train it: segwatch model train RECIPE, with start.checkpoint set to this folder")


@app.command("eval")
def evaluate(
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="lasers, earthreason, rrsis-d, risbench or refsegrs.")
    ],
    root: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the data set.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="Split, as the data set names it.")] = "test",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Folder or hub id of a checkpoint. Default: that of SEGWATCH_MODEL_PATH."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first samples, at most this many.")
    ] = None,
    destination: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="Folder for results.json, results.md and worst/*.png."),
    ] = Path("evaluation"),
    worst: Annotated[int, typer.Option(min=0, help="Number of worst samples to draw.")] = 20,
    as_json: Json = False,
) -> None:
    """Evaluate the model on a public benchmark: gIoU, cIoU, mIoU and Pr@0.5 to 0.9, by group."""
    with clear_errors():
        from segwatch.flows.config.settings import load_settings
        from segwatch.flows.runtime.extras import require_extras

        require_extras("segwatch model eval", "train")

        settings = load_settings()
        from segwatch.model import model_version
        from segwatch.model.predictor import Predictor
        from segwatch.model.referring import layouts, score

        try:
            chosen = layouts.Dataset(dataset)
        except ValueError as error:
            known = ", ".join(layouts.Dataset)
            raise typer.BadParameter(
                f"{dataset!r} is unknown; use one of {known}", param_hint="--dataset"
            ) from error
        samples = layouts.load_samples(chosen, root, split)[:limit]
        predictor = Predictor.load(
            model_version.resolve_model_folder(model or settings.model_path),
            settings.device,
            dtype=None,
            memory_gib=settings.memory_gib,
        )
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task(f"{chosen}, {split}", total=len(samples))
            scores = score.score_samples(
                predictor,
                samples,
                overlays=destination / "worst" if worst else None,
                worst=worst,
                on_sample=lambda: progress.advance(task),
            )
        document = score.build_report(scores, dataset=chosen, split=split, model=predictor.version)
        score.write_report(document, destination)
    if as_json:
        print_json({key: value for key, value in document.items() if key != "records"})
    else:
        out.print(score.format_markdown(document), markup=False)
        out.print(f"written to {destination}")
    if not scores.records:
        print_error("no sample could be read; results.json has the reasons")
        raise typer.Exit(1)


@app.command()
def train(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="Training recipe (TOML), such as model/train/recipes/tiny-first.toml."
        ),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override section.field of the recipe; repeatable."),
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Ignore the state of an earlier run.")] = False,
) -> None:
    """Train a model as a recipe says; run again, it resumes where it stopped.

    On several GPUs: torchrun --nproc_per_node N -m segwatch.flows.cli model train RECIPE
    """
    log = logging.getLogger("segwatch.model")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    with clear_errors():
        from segwatch.model.train.config import load_config
        from segwatch.model.train.run import run_training as run

        chosen = load_config(config, changes or ())
        trainer = run(chosen, fresh=fresh)
    if trainer.accelerator.is_main_process:
        out.print(f"{chosen.run.out}: {trainer.progress.step} steps")


@app.command()
def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Training recipe (TOML).")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override section.field of the recipe; repeatable."),
    ] = None,
    gpus: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Number of GPUs; repeatable. Default: 1, 4 and 8.")
    ] = None,
    peak: Annotated[
        float, typer.Option(min=1, metavar="TFLOPS", help="Peak of a GPU in bfloat16; default: an H100's.")
    ] = 989.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the peak that training reaches, an assumption.")
    ] = 0.2,
    as_json: Json = False,
) -> None:
    """Count memory per GPU and time of a training run before a GPU is rented.

    Parameters, operations and activations are counted at the run's size; the speed of a GPU is assumed.
    """
    with clear_errors():
        from segwatch.model.train.config import load_config
        from segwatch.model.train.planning import Assumptions, plan_training

        given = Assumptions(peak_tflops=peak, utilisation=utilisation)
        counted = plan_training(load_config(recipe, changes or ()), gpus or (1, 4, 8), given)
    if as_json:
        print_json(counted.to_dict())
        return
    head = (
        "GPUs",
        "passes each",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "GiB a GPU",
        "hours",
        "GPU hours",
    )
    cells = []
    for one in counted.gpus:
        figures = (one.weights_gib, one.gradients_gib, one.optimizer_gib, one.activations_gib, one.total_gib)
        times = (one.hours, one.gpu_hours)
        cells.append((one.gpus, one.accumulate, *(round(value, 1) for value in (*figures, *times))))
    print_table(head, cells)
    flops = counted.cost.forward_flops + counted.cost.backward_flops
    say(
        f"{counted.trained / 1e6:.1f} million values trained, {counted.frozen / 1e6:.1f} million frozen; "
        f"{counted.steps} steps of {counted.passes_per_step} passes, {flops / 1e12:.2f} TFLOP a pass; "
        f"{counted.host_gib:.1f} GiB of host memory for each process while it loads"
    )
    say(
        f"assumed, not measured: {given.utilisation:.0%} of {given.peak_tflops:g} TFLOP/s, "
        f"{given.link_gb_per_second:g} GB/s between GPUs, {given.text_tokens} text tokens and {given.targets} targets "
        f"an example, {given.spare_gib:g} GiB beside tensors; preparing pictures is not counted"
    )


@app.command()
def publish(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a trained or converted model.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder to create; it must not exist.")],
    facts: Annotated[
        Path,
        typer.Option(
            "--card", metavar="FILE", help="TOML file of licence, summary, limits, data, parts and figures."
        ),
    ],
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="results.md of `segwatch model eval`, for the card; repeatable."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Training recipe, for the card.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model's folder for others: safetensors, configuration, tokenizer and a model card.

    Refuses a model without a licence of its weights and of its data. Upload the folder to a hub yourself.
    """
    with clear_errors():
        from segwatch.model import publishing

        made = publishing.publish_model(
            source,
            target,
            publishing.read_facts(facts),
            evaluations=[publishing.read_text(file) for file in evaluation or ()],
            recipe=None if recipe is None else publishing.read_text(recipe),
        )
    if as_json:
        print_json(
            {"target": str(target), "version": made.version, "files": list(made.files), "bytes": made.bytes}
        )
        return
    out.print(f"{target}: {made.version}, {len(made.files)} files, {made.bytes / 2**20:.1f} MiB")
    out.print(f"read {publishing.CARD_FILE} before you upload the folder", soft_wrap=True)


for _command in (
    learning.adapt,
    learning.rewordings,
    learning.switch,
    learning.rollback,
    learning.switches,
):
    app.command()(_command)
app.command("evaluate-watch")(learning.evaluate_watch)
