"""Which model a watch has: that of the settings, or the one that a person switched it to.

A switch is recorded in the ledger with the model's folder and version, so every worker follows it. The folder must be
reachable by every worker of the gpu pool; its version is compared when it is loaded.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from segwatch.db import model_switches
from segwatch.db.model_switches import ModelSwitch
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import SegmenterError
from segwatch.flows.inference import segmenters
from segwatch.flows.inference.segmenters import Segmenter


def find_version(conn: Connection, settings: FlowSettings, watch: str) -> str:
    """Find the version of a watch's model without loading weights."""
    chosen = model_switches.find(conn, watch)
    return segmenters.get_model_version(settings) if chosen is None else chosen.version


def read_version(engine: Engine, settings: FlowSettings, watch: str) -> str:
    """Find the version of a watch's model, see :func:`find_version`, on a connection of its own."""
    with engine.connect() as conn:
        return find_version(conn, settings, watch)


def list_models(
    conn: Connection, settings: FlowSettings, watch: str | None = None
) -> list[tuple[str, ModelSwitch | None]]:
    """List the models in use with their versions: of one watch, or that of the settings and those of all switches."""
    switches = {one.version: one for one in reversed(model_switches.list_in_force(conn, watch))}
    if watch is None or not switches:
        switches.pop(mine := segmenters.get_model_version(settings), None)
        return [(mine, None), *sorted(switches.items())]
    return list(switches.items())


def load_model(settings: FlowSettings, chosen: ModelSwitch | None) -> Segmenter:
    """Load the model of the settings, or the one that watches were switched to.

    Raises
    ------
    SegmenterError
        The folder holds another model than the one that was switched to.
    segwatch.model.errors.ModelError
        The folder is missing or unusable.
    """
    if chosen is None:
        return segmenters.load_segmenter(settings)
    loaded = segmenters.load_segmenter(use_folder(settings, chosen.folder))
    if loaded.version != chosen.version:
        raise SegmenterError(
            f"{chosen.folder} holds {loaded.version}, but {chosen.watch} was switched to {chosen.version}; restore "
            f"that model there, or run: segwatch model switch {chosen.watch} {chosen.folder}"
        )
    return loaded


def use_folder(settings: FlowSettings, folder: str) -> FlowSettings:
    """Return settings whose segmenter is the model of a folder, of whichever architecture that is."""
    architecture = segmenters.find_architecture(folder)
    return settings.model_copy(update={"segmenter": None, "model": architecture, "model_path": folder})
