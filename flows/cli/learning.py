"""``segwatch model evaluate-watch|adapt|rewordings|switch|rollback|switches``: learn from what people judged."""

from __future__ import annotations

import getpass
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segwatch.flows.cli.console import (
    By,
    Json,
    WatchName,
    clear_errors,
    confirm_change,
    format_minute,
    open_engine,
    out,
    print_error,
    print_json,
    print_table,
    say,
    warn,
)
from segwatch.geo.text.shares import format_share

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from segwatch.db.model_switches import ModelSwitch
    from segwatch.db.watches import Applied
    from segwatch.flows.config.settings import FlowSettings
    from segwatch.flows.learning.collecting import AbsentArea, Collected
    from segwatch.flows.learning.evaluation import TargetEvaluation
    from segwatch.geo.types.assessment import Estimate
    from segwatch.geo.types.watch import Watch
    from segwatch.model.train.adaptation import AdaptationPlan, Adapted

Tiles = Annotated[int, typer.Option("--tiles", min=9, max=400, help="Most tiles of the scene to predict.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where there is no terminal.")]
Every = Annotated[bool, typer.Option("--all", help="Every watch of the ledger instead of one.")]
OptionalWatch = Annotated[
    str | None, typer.Argument(metavar="[WATCH]", help="Name of a watch in the ledger; none with --all.")
]


class Half(StrEnum):
    """What is trained of a model."""

    MASKS = "masks"
    LANGUAGE = "language"


def evaluate_watch(
    watch: WatchName,
    spectral: Annotated[
        bool,
        typer.Option(
            "--spectral/--no-spectral",
            help="Also run the spectral segmenter, which reads the labelled scenes again.",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Evaluate the map of a watch on its reviews and assessment labels: precision, recall and IoU per target.

    Beside it stand a map that marks nothing, one that marks everything, and the spectral segmenter where the source has
    its bands. Figures have 95 % intervals; from too few labels there are none.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.learning.evaluation import evaluate_watch as run

    with clear_errors(), open_engine() as engine:
        found = run(engine, load_settings(), watch, spectral=spectral)
    if as_json:
        print_json(asdict(found))
        return
    rows = [row for one in found.targets for row in _to_rows(one)]
    head = ("target", "labels", "of", "prediction", "precision", "recall", "IoU", "intervals")
    print_table(head, rows, title=f"{found.watch}: {found.model}")
    for one in found.targets:
        if one.refused is not None:
            say(f"{one.target}, {one.source}: no figures: {one.refused}")
        if one.objects_there is not None:
            say(f"{one.target}: share of the reviewed objects that are there {_format(one.objects_there)}")
        for note in one.notes:
            say(f"{one.target}, {one.source}: {note}")


def _to_rows(one: TargetEvaluation) -> Iterator[tuple[str, ...]]:
    for made in one.predictions:
        figures = (made.scores.precision, made.scores.recall, made.scores.iou)
        cells = (_format(figure) for figure in figures)
        yield (one.target, str(one.labels), one.source, made.name, *cells, made.intervals)


def _format(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{format_share(estimate.value)} ({format_share(estimate.low)}-{format_share(estimate.high)})"


def rewordings(watch: WatchName, tiles: Tiles = 36, as_json: Json = False) -> None:
    """Measure how much the masks of a watch depend on the words of its instruction.

    The newest clear scene is predicted for the instruction and for some rewordings; their agreement (mean IoU) is
    stored, shown by `watch list`, and warned about by `apply` where it is low.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.learning.rewording import describe_agreement, measure_rewordings

    with clear_errors(), open_engine() as engine:
        found = measure_rewordings(engine, load_settings(), watch, max_tiles=tiles)
    if as_json:
        print_json(asdict(found))
        return
    mean = "nothing marked" if found.agreement is None else format_share(found.agreement)
    out.print(
        f"{watch}: agreement over {len(found.wordings)} rewordings {mean}, {found.tiles} tiles, {found.model}",
        markup=False,
    )
    print_table(
        ("target", "agreement"), [(name, format_share(one, 3)) for name, one in found.by_target.items()]
    )
    warning = describe_agreement(found, watch)
    if warning is not None:
        warn(f"{watch}: {warning}")


def adapt(
    watch: WatchName,
    destination: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder to create for the adapted model.")
    ],
    work: Annotated[
        Path | None,
        typer.Option(
            "--work", metavar="FOLDER", help="Folder of tiles and state. Default: that of --out with .work."
        ),
    ] = None,
    absent: Annotated[
        list[str] | None,
        typer.Option(
            "--absent",
            metavar="[TARGET=]FILE",
            help="GeoJSON of ground without the target on the newest clear scene; repeatable.",
        ),
    ] = None,
    half: Annotated[
        Half | None, typer.Option("--train", help="What to train. Default: by the size of the model.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Most training steps.")] = 400,
    every: Annotated[int, typer.Option(min=1, help="Steps between looks at the ground for stopping.")] = 20,
    max_tiles: Annotated[int, typer.Option(min=6, max=2000, help="Most tiles to read.")] = 200,
    tiles: Tiles = 36,
    as_json: Json = False,
) -> None:
    """Adapt the model of a watch to what people judged: accepted, rejected and edited objects, and labels.

    The imagery is read again. Training, stopping and judging use places of their own. The adapted model and a
    report of what it would change are written to a folder; no watch uses it before `segwatch model switch`. Run again
    after an interruption, it continues. Exit status 1 if no step was better than the model as it is.
    """
    from segwatch.flows.config.settings import load_settings

    with clear_errors(), open_engine() as engine:
        settings = load_settings()
        document = _adapt(
            engine,
            settings,
            watch,
            destination.expanduser().resolve(),
            work,
            _read_absent(absent or ()),
            half,
            (steps, every, max_tiles, tiles),
        )
    if as_json:
        print_json(document)
    else:
        from segwatch.flows.learning.reports import format_markdown

        out.print(format_markdown(document), markup=False)
    if document["version"] is None:
        print_error("no step was better on the ground for stopping; nothing was written, review more objects")
        raise typer.Exit(1)
    say(f"to use it: segwatch model switch {watch} {destination}")


def _adapt(
    engine: Engine,
    settings: FlowSettings,
    watch: str,
    destination: Path,
    work: Path | None,
    absent: Sequence[AbsentArea],
    half: Half | None,
    limits: tuple[int, int, int, int],
) -> dict[str, Any]:
    """Collect tiles, train, compare on the newest scene, and write the report."""
    from segwatch.db import watches
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.inference import segmenters, watch_models
    from segwatch.flows.learning import reports
    from segwatch.flows.learning.collecting import collect_tiles
    from segwatch.model import model_version
    from segwatch.model.pretrained import read_config
    from segwatch.model.train import adaptation, adaptation_tiles

    steps, every, max_tiles, tiles = limits
    with engine.connect() as conn:
        stored = watches.load_current(conn, watch).watch
        (_, chosen), *_ = watch_models.list_models(conn, settings, watch)
    _require_targets(absent, stored)
    if chosen is None and settings.segmenter is not None:
        raise ConfigError(
            f"{watch} uses SEGWATCH_SEGMENTER={settings.segmenter}, which segwatch cannot train; adapt a SegEarth-R2 "
            "checkpoint: unset it, or set SEGWATCH_MODEL_PATH"
        )
    in_use = settings if chosen is None else watch_models.use_folder(settings, chosen.folder)
    if in_use.model == segmenters.SAM3:
        raise ConfigError(
            f"{watch} uses SAM 3, which segwatch cannot train; adapt a SegEarth-R2 checkpoint: switch to one, "
            "or leave SEGWATCH_MODEL out"
        )
    checkpoint = model_version.resolve_model_folder(in_use.model_path)
    if any(destination.glob("*.safetensors")):
        raise ConfigError(f"{destination} holds a model already; give a new folder")
    folder = work or destination.with_name(f"{destination.name}.work")
    # a model that an interrupted run wrote there is made again from its state
    shutil.rmtree(folder / "model", ignore_errors=True)
    config = read_config(checkpoint)
    collected = collect_tiles(
        engine,
        settings,
        watch,
        folder / "tiles",
        tile_px=config.image_size,
        save=adaptation_tiles.write_tile,
        absent=absent,
        max_tiles=max_tiles,
        say=say,
    )
    _report_collected(collected)
    adaptation_tiles.write_index(folder / "tiles", collected.places)
    plan = adaptation.AdaptationPlan(
        instruction=stored.instruction.text,
        targets=stored.instruction.targets,
        checkpoint=checkpoint,
        tiles=folder / "tiles",
        state=folder / f"state-{_name_run(collected, checkpoint, stored, half, (steps, every))}",
        out=folder / "model",
        name=f"{config.name}-{watch}",
        trained=None if half is None else adaptation.Trained(half),
        steps=steps,
        every=every,
    )
    adapted = adaptation.adapt_model(plan, device=settings.device, say=say)
    document = asdict(adapted) | {
        "watch": watch, "instruction": stored.instruction.text, "objects": collected.objects,
        "points": collected.points, "left_out": collected.left_out, "failures": collected.failures,
    }  # fmt: skip
    document |= _compare(engine, settings, watch, plan, adapted, tiles)
    reports.write_report(folder if adapted.version is None else plan.out, document)
    if adapted.version is not None:
        if destination.exists():
            destination.rmdir()
        shutil.move(plan.out, destination)
    return document


def _require_targets(absent: Sequence[AbsentArea], watch: Watch) -> None:
    from segwatch.flows.errors import ConfigError
    from segwatch.geo.text.spelling import find_nearest

    known = watch.instruction.targets
    for one in absent:
        if one.target is not None and one.target not in known:
            near = find_nearest(one.target, known)
            hint = f"did you mean {near}? " if near else ""
            raise ConfigError(
                f"--absent: {watch.name} has no target {one.target!r}; {hint}it has: {', '.join(known) or 'none'}"
            )


def _name_run(
    collected: Collected, checkpoint: Path, watch: Watch, half: Half | None, steps: tuple[int, int]
) -> str:
    """Name what a training depends on, so that only the same training is resumed."""
    from segwatch.model import model_version

    version, instruction = model_version.compute_version(checkpoint), watch.instruction
    parts = (version, instruction.text, instruction.targets, half, steps, sorted(collected.places.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _report_collected(collected: Collected) -> None:
    for failure in collected.failures:
        warn(f"tiles are missing: {failure}")
    if collected.left_out:
        say(f"{collected.left_out} tiles beyond the limit are left out; --max-tiles sets it")


def _compare(
    engine: Engine, settings: FlowSettings, watch: str, plan: AdaptationPlan, adapted: Adapted, tiles: int
) -> dict[str, Any]:
    """Compare both models on the newest clear scene; a scene that is gone does not undo the training."""
    from segwatch.db.errors import DbError
    from segwatch.flows.errors import FlowError
    from segwatch.flows.inference import segmenters, watch_models
    from segwatch.flows.learning.difference import compare_models
    from segwatch.geo.errors import GeoError

    if adapted.version is None:
        return {"scene": None, "scene_missing": "nothing was written"}
    before, after = (
        segmenters.load_segmenter(watch_models.use_folder(settings, str(one)))
        for one in (plan.checkpoint, plan.out)
    )
    try:
        found = compare_models(engine, settings, watch, before, after, tiles)
    except (DbError, FlowError, GeoError) as error:
        return {"scene": None, "scene_missing": str(error)}
    return {"scene": asdict(found), "scene_missing": None}


def _read_absent(given: Sequence[str]) -> list[AbsentArea]:
    from segwatch.flows.config.geojson import read_geometry_file
    from segwatch.flows.learning.collecting import AbsentArea

    found = []
    for one in given:
        target, equals, file = one.partition("=")
        path = Path(file if equals else target)
        found.append(AbsentArea(target if equals else None, read_geometry_file(path)))
    return found


def switch(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[WATCH] FOLDER", help="Watch and folder of the model; with --all, the folder."
        ),
    ],
    every: Every = False,
    yes: Yes = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Switch a watch to another model, after its report was shown to a person.

    A new series begins with the newest observed scene and takes over the objects of the one before. The folder must be
    reachable under this path by every worker of the gpu pool. `segwatch model rollback` restores the model before.
    """
    from segwatch.db import model_switches
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.inference import segmenters, watch_models

    *named, given = words
    if len(named) != (0 if every else 1):
        raise typer.BadParameter(
            "give a watch and a folder, or --all and a folder", param_hint="WATCH FOLDER"
        )
    folder = Path(given).expanduser().resolve()
    with clear_errors(), open_engine() as engine:
        settings = load_settings()
        chosen = watch_models.use_folder(settings, str(folder))
        segmenters.check_checkpoint(chosen)
        version = segmenters.get_model_version(chosen)
        with engine.connect() as conn:
            watches = _list_watches(conn, named)
        _show_report(folder, version, watches)
        confirm_change(f"Switch {', '.join(watches)} to {version}?", yes=yes)
        name = by or getpass.getuser()
        mine = segmenters.get_model_version(settings)
        switched = []
        for watch in watches:
            with engine.begin() as conn:
                if model_switches.switch(
                    conn, watch, folder=str(folder), version=version, settings_version=mine, by=name
                ):
                    switched.append(watch)
    if as_json:
        print_json({"version": version, "folder": str(folder), "switched": switched, "by": name})
        return
    for watch in watches:
        state = "switched to" if watch in switched else "has already"
        out.print(f"{watch}: {state} {version}", markup=False)


def rollback(
    watch: OptionalWatch = None, every: Every = False, yes: Yes = False, by: By = None, as_json: Json = False
) -> None:
    """Undo the last switch of a watch: the model before is in force again, with its objects and history.

    It then observes what only the other model did. Repeated, it undoes the switch before that one.
    """
    from segwatch.db import model_switches

    if (watch is None) != every:
        raise typer.BadParameter("give a watch, or --all", param_hint="WATCH")
    with clear_errors(), open_engine() as engine:
        with engine.connect() as conn:
            found = [one.watch for one in model_switches.list_in_force(conn)] if every else [str(watch)]
            for one in found:
                _tell_rollback(conn, one)
        confirm_change(f"Roll back {', '.join(found) or 'nothing'}?", yes=yes)
        undone: list[ModelSwitch] = []
        for one in found:
            with engine.begin() as conn:
                undone.append(model_switches.roll_back(conn, one, by=by or getpass.getuser()))
    if as_json:
        print_json([{"watch": one.watch, "from": one.version, "to": one.before} for one in undone])
        return
    for done in undone:
        out.print(f"{done.watch}: rolled back from {done.version} to {done.before}", markup=False)


def _tell_rollback(conn: Connection, watch: str) -> None:
    from segwatch.db import model_switches, watches

    watches.require(conn, watch)
    found = model_switches.find(conn, watch)
    if found is not None:
        say(
            f"{watch}: {found.version}, switched by {found.by} on {format_minute(found.at)}, from {found.before}"
        )


def switches(watch: WatchName, as_json: Json = False) -> None:
    """List the switches of a watch: who gave it which model, when, and what was undone."""
    from segwatch.db import model_switches

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        found = model_switches.list_history(conn, watch)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    rows = [
        (
            one.at,
            one.by,
            one.before,
            one.version,
            one.folder,
            one.undone_at,
            one.undone_by,
        )
        for one in found
    ]
    print_table(("switched", "by", "from", "to", "folder", "undone", "undone by"), rows, title=watch)


def _list_watches(conn: Connection, named: Sequence[str]) -> list[str]:
    from segwatch.db import watches

    for one in named:
        watches.require(conn, one)
    return list(named) or watches.list_names(conn)


def _show_report(folder: Path, version: str, watches: Sequence[str]) -> None:
    """Show what the model would change, as far as it is known."""
    from segwatch.flows.learning.reports import read_report

    report = read_report(folder)
    if report is None:
        warn(
            f"{folder} has no report of what it changes; compare it as a shadow first: segwatch watch compare"
        )
        return
    say(report["text"])
    if report["version"] != version:
        warn(f"the report is of {report['version']}, the folder holds {version}")
    others = [one for one in watches if one != report["watch"]]
    if others:
        warn(f"the model was adapted to {report['watch']}; nothing is known about {', '.join(others)}")


def report_words(applied: Sequence[tuple[Watch, Applied]]) -> None:
    """Warn about applied watches whose masks depend on the words; of new revisions, say how to measure it.

    The segmenter ``spectral`` reads no words beside the targets.
    """
    from segwatch.db import rewordings as stored
    from segwatch.db import watches
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.learning.rewording import describe_agreement

    if load_settings().segmenter == "spectral":
        return
    with open_engine() as engine, engine.connect() as conn:
        for watch, done in applied:
            found = stored.find(conn, watches.make_instruction_id(watch.instruction), watch.name)
            note = describe_agreement(found, watch.name)
            if note is not None and found is not None:
                warn(f"{watch.name}: {note}")
            elif note is not None and done.created:
                say(f"{watch.name}: {note}")
