"""``segwatch try``: segment one image at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segwatch.flows.cli.console import Json, clear_errors, err, out, print_json, print_table, say
from segwatch.geo.text.shares import format_share_percent

if TYPE_CHECKING:
    from segwatch.flows.inference.trying import Trial

_FORMATS = (".geojson", ".json", ".gpkg")


def try_(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="GeoTIFF or JPEG 2000 file.")],
    instruction: Annotated[
        str, typer.Argument(metavar="INSTRUCTION", help="What to segment, such as 'segment the water'.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Polygons: .geojson or .gpkg; a picture is written beside it. Default: in the current folder.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="LABEL", help="Label of what is asked for; may be repeated."),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option("--bands", metavar="R,G,B", help="Numbers of the red, green and blue band."),
    ] = None,
    gsd_m: Annotated[
        float | None,
        typer.Option("--gsd", metavar="METRES", min=0.001, help="Pixel size at which the image is read."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Segment one image and write its polygons and a picture: no watch, no database.

    Polygons are in EPSG:4326, with target, score and area. The model is that of the settings (SEGWATCH_MODEL,
    SEGWATCH_MODEL_PATH or SEGWATCH_SEGMENTER).
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.inference import trying
    from segwatch.flows.inference.segmenters import is_demonstration, load_segmenter
    from segwatch.flows.runtime.extras import require_extras
    from segwatch.geo.encoding import encode_png
    from segwatch.geo.sources.local.bands import parse_bands
    from segwatch.geo.sources.local.registry import write_atomically

    with clear_errors():
        if not instruction.strip():
            raise ConfigError("the instruction is empty; say what to segment, such as 'segment the water'")
        to = to or Path(f"{image.stem}-polygons.geojson")
        if to.suffix.lower() not in _FORMATS:
            raise ConfigError(f"--out {to}: the file must end in {', '.join(_FORMATS)}")
        if not to.absolute().parent.is_dir():
            raise ConfigError(f"--out {to}: there is no folder {to.parent}; make it first")
        if to.suffix.lower() == ".gpkg":
            require_extras("writing a GeoPackage", "analysis")
        settings = load_settings()
        progress = Progress(
            TextColumn("  tiles"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=err, transient=True,
        )  # fmt: skip
        with progress:
            task = progress.add_task("tiles", total=None)
            options = trying.TrialOptions(
                tuple(target or ()),
                parse_bands(bands) if bands is not None else None,
                gsd_m,
                lambda done, total: progress.update(task, completed=done, total=total),
            )
            trial = trying.try_image(image, instruction, settings, load_segmenter, options)
        _write_polygons(trial, instruction, to)
        picture = to.with_suffix(".png")
        write_atomically(picture.absolute(), encode_png(trial.picture))
    if as_json:
        print_json(_to_document(trial, to, picture, is_demonstration=is_demonstration(settings)))
        return
    _print_trial(trial, to, picture)
    if is_demonstration(settings):
        say(
            "this is the shipped demonstration model: it shows how things work, and its polygons are no basis for "
            "decisions; a model of your own: SEGWATCH_MODEL_PATH"
        )


def _print_trial(trial: Trial, to: Path, picture: Path) -> None:
    from segwatch.flows.inference.trying import summarize

    facts = trial.facts
    read = f", converted first ({trial.converted})" if trial.converted else ""
    out.print(
        f"{facts.width}x{facts.height} px, {facts.bands_text}, {facts.dtype}, read at {trial.gsd_m:g} m{read}",
        markup=False,
    )
    rows = [
        (
            one["target"],
            str(one["polygons"]),
            f"{one['area_m2'] / 10_000:,.2f} ha",
            "not told by this model" if one["presence"] is None else format_share_percent(one["presence"]),
        )
        for one in summarize(trial.result, trial.targets)
    ]
    print_table(("target", "polygons", "area", "presence"), rows)
    failed = trial.result.tiles_failed
    if failed:
        say(f"warning: {failed} of {trial.result.tiles} tiles failed; nothing is known about their ground")
    out.print(f"polygons: {to}", markup=False)
    out.print(f"picture: {picture}", markup=False)
    out.print(f"model: {trial.model}", markup=False)


def _to_document(trial: Trial, to: Path, picture: Path, *, is_demonstration: bool) -> dict[str, Any]:
    from segwatch.flows.inference.trying import summarize

    return {
        "targets": summarize(trial.result, trial.targets),
        "tiles": trial.result.tiles,
        "tiles_failed": trial.result.tiles_failed,
        "gsd_m": trial.gsd_m,
        "model": trial.model,
        "demonstration_model": is_demonstration,
        "polygons": str(to),
        "picture": str(picture),
    }


def _write_polygons(trial: Trial, instruction: str, to: Path) -> None:
    """Write the polygons, largest first, in EPSG:4326."""
    from shapely.geometry import mapping

    from segwatch.geo.sources.local.registry import write_atomically

    found = sorted(trial.result.detections, key=lambda one: -one.area_m2)
    rows = [
        {
            "target": one.target,
            "score": round(one.score, 4),
            "area_m2": round(one.area_m2, 2),
            "instruction": instruction,
            "model": trial.model,
        }
        for one in found
    ]
    if to.suffix.lower() == ".gpkg":
        _write_gpkg(rows, [one.geometry for one in found], to)
        return
    features = [
        {"type": "Feature", "properties": row, "geometry": mapping(one.geometry)}
        for row, one in zip(rows, found, strict=True)
    ]
    collection = {"type": "FeatureCollection", "features": features}
    write_atomically(to.absolute(), json.dumps(collection).encode())


def _write_gpkg(rows: list[dict[str, Any]], geometries: list[Any], to: Path) -> None:
    import geopandas

    columns = ("target", "score", "area_m2", "instruction", "model")
    frame = geopandas.GeoDataFrame(
        {name: [row[name] for row in rows] for name in columns}, geometry=geometries, crs="EPSG:4326"
    )
    to.unlink(missing_ok=True)
    frame.to_file(to, layer="polygons", driver="GPKG", engine="pyogrio", geometry_type="Unknown")
