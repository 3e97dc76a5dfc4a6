"""``segwatch assess``: how accurate the map of a watch is, from a random sample that people label."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from segwatch.flows.cli.console import (
    By,
    Json,
    WatchName,
    clear_errors,
    open_engine,
    out,
    print_json,
    print_table,
    say,
    warn,
)
from segwatch.geo.text.shares import format_share

app = typer.Typer(
    no_args_is_help=True,
    help="Assess the accuracy of a watch: draw a random sample, label it, estimate accuracy and areas.",
)


@app.command()
def start(
    watch: WatchName,
    samples: Annotated[
        int | None,
        typer.Option(min=20, max=5000, help="Size of the sample. Default: what the standard error needs."),
    ] = None,
    standard_error: Annotated[
        float,
        typer.Option(min=0.005, max=0.2, help="Standard error of the overall accuracy to aim at."),
    ] = 0.02,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32, help="Draw the same sample as before from an unchanged ledger."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a sample of the objects, changes and observed ground of a watch.

    Label it at /assess of `segwatch serve`, or in QGIS with `segwatch assess export` and `import`. A new sample
    replaces the one before once it has a label.
    """
    from segwatch.db import analyst
    from segwatch.flows.assessment.drawing import draw_assessment

    with clear_errors(), open_engine() as engine:
        made = draw_assessment(engine, watch, samples=samples, standard_error=standard_error, seed=seed)
        with engine.connect() as conn:
            replaced = _find_replaced(analyst.list_strata(conn, watch), made.assessment_id)
    if as_json:
        strata = [{"target": key[0], "stratum": key[1], "samples": n} for key, n in made.strata.items()]
        print_json(
            {
                "assessment": made.assessment_id,
                "seed": made.seed,
                "asked": made.asked,
                "samples": made.samples,
                "strata": strata,
            }
        )
        return
    cells = [(target, stratum, count) for (target, stratum), count in sorted(made.strata.items())]
    print_table(
        ("target", "stratum", "samples"), cells, title=f"{watch}: {made.samples} samples, seed {made.seed}"
    )
    if made.explain_size():
        say(made.explain_size())
    if replaced is not None:
        drawn_at, labels = replaced
        say(
            f"the sample of {drawn_at:%Y-%m-%d %H:%M} UTC has {labels} label(s): reports and the map show its figures "
            "until the new one has a label, and then those of the new one alone"
        )
    say("label them at /assess of segwatch serve, or with segwatch assess export")


def _find_replaced(rows: list[dict[str, Any]], made: UUID) -> tuple[datetime, int] | None:
    """Find the newest labelled assessment before a new one: when it was drawn, and its labels; None if none has any."""
    counts: dict[datetime, int] = {}
    for row in rows:
        if row["assessment_id"] != made:
            labelled = row["correct"] + row["wrong"] + row["unclear"]
            counts[row["drawn_at"]] = counts.get(row["drawn_at"], 0) + labelled
    return max(((at, count) for at, count in counts.items() if count), default=None)


@app.command()
def status(watch: WatchName, as_json: Json = False) -> None:
    """Show how many samples of each assessment are labelled."""
    from segwatch.db import analyst, watches

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        watches.require(conn, watch)
        rows = analyst.list_strata(conn, watch)
        few = analyst.list_small_strata(conn, watch)
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["drawn_at"],
            row["target"],
            row["stratum"],
            round(row["size"]),
            row["samples"],
            row["correct"] + row["wrong"] + row["unclear"],
            row["unclear"],
        )
        for row in rows
    ]
    head = ("drawn", "target", "stratum", "units", "samples", "labelled", "unclear")
    print_table(head, cells, title=watch if cells else f"{watch}: not assessed")
    _say_few(few)


def _say_few(few: list[dict[str, Any]]) -> None:
    """Say which strata are too small for their estimate to tell about anything but their units."""
    for row in few:
        say(
            f"{row['target']}, {row['stratum']}: there are only {row['size']:.0f}, all of them are samples; "
            "what is estimated holds for these, not for those to come"
        )


@app.command()
def export(
    watch: WatchName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="GeoPackage to write.")],
    chips: Annotated[
        bool, typer.Option("--chips/--no-chips", help="Also write pictures to the folder NAME_chips.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Write the samples of the newest assessment for QGIS, with pictures before and after.

    Fill the column `label` with both, after, before, neither or unclear: in which picture the target is at the point.
    """
    from segwatch.flows.assessment.exchange import export_samples
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors():
        settings = load_settings()
        with assemble.open_worker_engine(settings) as engine:
            made = export_samples(engine, settings, watch, file, pictures=chips, say=_say_progress)
    if as_json:
        print_json({"file": str(file), **asdict(made)})
        return
    if made.failures:
        warn(f"{len(made.failures)} pictures are missing, for example {made.failures[0]}")
    out.print(f"{file}: {made.samples} samples, {made.pictures} pictures", markup=False)


def _say_progress(done: int, every: int) -> None:
    if done % 50 == 0 or done == every:
        say(f"{done} of {every} samples")


@app.command("import")
def import_(
    watch: WatchName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="GeoPackage that export wrote.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Store the labels of a GeoPackage; all of them, or none if one is invalid."""
    from segwatch.flows.assessment.exchange import import_labels

    with clear_errors(), open_engine() as engine:
        made = import_labels(engine, watch, file, by or getpass.getuser())
    if as_json:
        print_json(asdict(made))
        return
    out.print(
        f"{made.added} labels added, {made.unchanged} as before, {made.unlabelled} samples have no label in this file"
    )


@app.command()
def report(watch: WatchName, as_json: Json = False) -> None:
    """Show user's, producer's and overall accuracy and unbiased areas with 95 % intervals (Olofsson et al. 2014)."""
    from segwatch.db import analyst, watches

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        watches.require(conn, watch)
        found = analyst.read_accuracy(conn, watch)
        calibrations = analyst.list_calibrations(conn, watch)
        few = analyst.list_small_strata(conn, watch)
    if as_json:
        fitted = [asdict(one) for one in calibrations]
        words = analyst.describe_accuracy(found)
        print_json({**asdict(found), "words": words, "calibrations": fitted, "small_strata": few})
        return
    for line in analyst.describe_accuracy(found):
        out.print(line, markup=False)
    if found.targets:
        cells = [row for one in found.targets for row in _list_estimates(one)]
        print_table(("target", "estimate", "value", "95 % interval"), cells, title=watch)
    for one in calibrations:
        errors = f"{one.calibration.error_before:.3f} before, {one.calibration.error_after:.3f} after"
        out.print(
            f"confidence of {one.subject}s of {one.target}: version {one.version} of {one.fitted_at:%Y-%m-%d}, "
            f"{one.calibration.labels} labels, calibration error {errors}",
            markup=False,
        )
    _say_few(few)


def _list_estimates(target: Any) -> list[tuple[str, str, str, str]]:
    named = {
        "user's accuracy": target.users,
        "producer's accuracy": target.producers,
        "overall accuracy": target.overall,
        "objects that are there": target.objects,
        "changes that happened": target.changes,
        **{_name_kind(kind): one for kind, one in target.change_kinds.items()},
    }
    rows = [
        (
            target.target,
            name,
            format_share(one.value, 3),
            f"{format_share(one.low, 3)} to {format_share(one.high, 3)}",
        )
        for name, one in named.items()
        if one is not None
    ]
    if target.area_m2 is not None:
        area = target.area_m2.scale(1e-4)
        rows.append((target.target, "hectares", f"{area.value:.2f}", f"{area.low:.2f} to {area.high:.2f}"))
    return rows


def _name_kind(kind: str) -> str:
    """Name a row: of changes that hold, the share that happened; of refuted ones, the share that did not."""
    return "refuted changes that did not happen" if kind == "refuted" else f"{kind}: changes that happened"


@app.command()
def calibrate(watch: WatchName, as_json: Json = False) -> None:
    """Fit the confidence of objects and changes to labels and reviews; views show the result beside the raw confidence.

    Rules keep using the raw confidence, so that new labels raise no alerts.
    """
    from segwatch.flows.assessment.calibrating import calibrate as fit

    with clear_errors(), open_engine() as engine:
        made = fit(engine, watch)
    if as_json:
        print_json([asdict(one) for one in made])
        return
    cells = [
        (
            one.target,
            one.subject,
            str(one.judged),
            "" if one.calibration is None else f"{one.calibration.error_before:.3f}",
            "" if one.calibration is None else f"{one.calibration.error_after:.3f}",
            "new version" if one.stored else "as before" if one.calibration else "too few labels",
        )
        for one in made
    ]
    print_table(("target", "confidence of", "labels", "error before", "after", "result"), cells, title=watch)
