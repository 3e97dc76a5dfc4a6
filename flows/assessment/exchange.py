"""Samples as a GeoPackage with pictures, to be labelled in QGIS, and the labels back from it.

The file tells nothing that the map says, so that labels do not follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from segwatch.db import analyst, assessments, watches
from segwatch.db.errors import LabelRefused, NotFound
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import ConfigError
from segwatch.flows.web.pixels.chips import render_chip
from segwatch.flows.web.pixels.circuits import MAX_FAILURES, HostCircuits
from segwatch.flows.web.pixels.shown import ShownScene, shown_scene
from segwatch.geo.errors import GeoError, ReadFailed
from segwatch.geo.types.assessment import Label

if TYPE_CHECKING:
    import geopandas as gpd

LAYER = "samples"
_COLUMNS = ("sample_id", "ordinal", "target", "before", "before_at", "after", "after_at", "label")
#: A point that moved farther than this (degrees, about 1 m) is no longer the one that was drawn.
_MAX_MOVE = 1e-5


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    samples: int
    pictures: int
    failures: tuple[str, ...]
    """Why pictures are missing, one reason each."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import read."""

    added: int
    unchanged: int
    unlabelled: int


def export_samples(
    engine: Engine,
    settings: FlowSettings,
    watch: str,
    file: Path,
    *,
    pictures: bool = True,
    say: Callable[[int, int], None] = lambda _, __: None,
) -> Exported:
    """Write the samples of a watch's newest assessment to a GeoPackage, with pictures in a folder ``NAME_chips``.

    Parameters
    ----------
    say
        Receives the number of finished samples and of all.

    Raises
    ------
    NotFound
        The watch has no assessment.
    ConfigError
        The file exists already.
    """
    if file.exists():
        raise ConfigError(f"{file} exists already and may hold labels; import it, or give another name")
    with engine.connect() as conn:
        rows = _load_samples(conn, watch)
    folder = file.with_name(f"{file.stem}_chips")
    failures: list[str] = []
    if pictures:
        _write_pictures(engine, settings, watch, rows, folder, failures, say)
    _to_table(rows).to_file(file, layer=LAYER, driver="GPKG")
    written = sum(row[side] is not None for row in rows for side in ("before", "after"))
    return Exported(len(rows), written, tuple(failures))


def _load_samples(conn: Connection, watch: str) -> list[dict[str, Any]]:
    watches.require(conn, watch)
    found = assessments.find(conn, watch)
    if found is None:
        raise NotFound(f"watch {watch} has no assessment; draw one: segwatch assess start {watch}")
    rows = assessments.list_samples(conn, found)
    return [row | {"sample_id": str(row["sample_id"]), "before": None, "after": None} for row in rows]


def _to_table(rows: Sequence[Mapping[str, Any]]) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pandas as pd

    table = pd.DataFrame([[row[name] for name in _COLUMNS] for row in rows], columns=list(_COLUMNS))
    for name in ("before", "after", "label"):
        table[name] = table[name].astype("string")
    places = gpd.points_from_xy([row["lon"] for row in rows], [row["lat"] for row in rows])
    return gpd.GeoDataFrame(table, geometry=places, crs="EPSG:4326")


def _write_pictures(
    engine: Engine,
    settings: FlowSettings,
    watch: str,
    rows: Sequence[dict[str, Any]],
    folder: Path,
    failures: list[str],
    say: Callable[[int, int], None],
) -> None:
    """Render both pictures of each sample, note their paths in the rows, and collect why some are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    load, circuits = _make_loader(engine, settings, watch), HostCircuits()
    for number, row in enumerate(rows, start=1):
        for side in ("before", "after"):
            if row[f"{side}_scene"] is None:
                continue
            try:
                content = _render(load(row[f"{side}_scene"]), row, circuits)
            except (GeoError, NotFound) as error:
                failures.append(f"sample {row['ordinal']}, {side}: {error}")
                continue
            path = folder / f"{row['ordinal']:04}_{side}.png"
            path.write_bytes(content)
            row[side] = f"{folder.name}/{path.name}"
        say(number, len(rows))


def _render(shown: ShownScene, row: Mapping[str, Any], circuits: HostCircuits) -> bytes:
    """Render the picture of a sample, unless the host of its imagery failed repeatedly a moment ago."""
    hosts = shown.list_hosts()
    if circuits.open_seconds(hosts) > 0:
        raise NotFound(f"{', '.join(sorted(hosts))} failed {MAX_FAILURES} times in a row and is left alone")
    circuits.start_probe(hosts)
    try:
        content = render_chip(shown, row["lon"], row["lat"])
    except ReadFailed:
        circuits.record_failure(hosts)
        raise
    circuits.record_success(hosts)
    return content


def _make_loader(engine: Engine, settings: FlowSettings, watch: str) -> Callable[[UUID], ShownScene]:
    @lru_cache(maxsize=64)
    def load(scene: UUID) -> ShownScene:
        with engine.connect() as conn:
            rows = analyst.list_readable_items(conn, watch, str(scene))
        if not rows:
            raise NotFound(f"watch {watch} has no scene {scene}")
        shown = shown_scene(rows, settings.imagery_hosts)
        return replace(shown, credentials=settings.credentials_for(shown.profile.name))

    return load


def import_labels(engine: Engine, watch: str, file: Path, labeller: str) -> Imported:
    """Store the labels of a GeoPackage that :func:`export_samples` wrote; all of them, or none if one is invalid.

    Raises
    ------
    LabelRefused
        The file cannot be read, is of another assessment, or holds an invalid label, a moved point, or two labels of
        one sample.
    """
    given = read_labels(file)
    labels: dict[UUID, Label] = {}
    with engine.begin() as conn:
        samples = {row["sample_id"]: row for row in _load_samples(conn, watch)}
        for sample_id, label, lon, lat in given:
            row = _find_sample(samples, sample_id, file)
            _check(row, label, (lon, lat), file)
            if label is None:
                continue
            known = labels.setdefault(UUID(sample_id), Label(label))
            if known != label:
                raise LabelRefused(
                    f"{file}: sample {row['ordinal']} stands there with two labels, {known} and {label}; leave one"
                )
        made = assessments.add_labels(conn, list(labels.items()), labeller)
    added = sum(one.created for one in made)
    return Imported(added, len(made) - added, len(samples) - len(made))


def read_labels(file: Path) -> list[tuple[str, str | None, float, float]]:
    """Read the labels of a GeoPackage: id of the sample, label (None = none yet), longitude and latitude in degrees.

    Raises
    ------
    LabelRefused
        The file cannot be read, or a sample has no point.
    """
    import geopandas as gpd

    if not file.is_file():
        raise LabelRefused(f"{file}: there is no such file")
    try:
        table = gpd.read_file(file, layer=LAYER)
    except Exception as error:  # GDAL's readers raise errors of their own
        raise LabelRefused(f"{file}: its layer {LAYER} cannot be read: {error}") from error
    missing = {"sample_id", "label"} - set(table.columns)
    if missing or table.crs is None:
        raise LabelRefused(f"{file}: the layer {LAYER} lacks {', '.join(sorted(missing)) or 'a CRS'}")
    return list(_to_rows(table.to_crs(4326)))


def _to_rows(table: gpd.GeoDataFrame) -> Iterator[tuple[str, str | None, float, float]]:
    import pandas as pd

    for sample_id, label, place in zip(table["sample_id"], table["label"], table.geometry, strict=True):
        # numbers are kept, so that they are refused as labels instead of passing for none
        word = "" if pd.isna(label) else str(label).strip().lower()
        if place is None or place.geom_type != "Point" or place.is_empty:
            raise LabelRefused(f"sample {sample_id} has no point; export the samples again")
        yield str(sample_id), word or None, place.x, place.y


def _find_sample(samples: Mapping[str, dict[str, Any]], sample_id: str, file: Path) -> dict[str, Any]:
    if sample_id not in samples:
        raise LabelRefused(
            f"{file}: sample {sample_id} is not in the newest assessment; export the samples again"
        )
    return samples[sample_id]


def _check(row: Mapping[str, Any], label: str | None, at: tuple[float, float], file: Path) -> None:
    if label is not None and label not in set(Label):
        words = ", ".join(Label)
        raise LabelRefused(f"{file}: sample {row['ordinal']}: {label!r} is no label; use one of {words}")
    if max(abs(at[0] - row["lon"]), abs(at[1] - row["lat"])) > _MAX_MOVE:
        raise LabelRefused(
            f"{file}: the point of sample {row['ordinal']} was moved, but what lies at the drawn point counts; "
            "export the samples again"
        )
