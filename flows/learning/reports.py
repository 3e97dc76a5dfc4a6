"""The difference report of an adaptation: as JSON, and in Markdown for the person who decides about a switch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segwatch.flows.errors import ConfigError
from segwatch.geo.text.printable import to_one_line
from segwatch.geo.text.shares import format_share

JSON_FILE, MARKDOWN_FILE = "adaptation.json", "adaptation.md"
_MAX_BYTES = 2**20


def write_report(folder: Path, document: Mapping[str, Any]) -> None:
    """Write the report into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, default=str)
    (folder / JSON_FILE).write_text(f"{text}\n", encoding="utf-8")
    (folder / MARKDOWN_FILE).write_text(format_markdown(document), encoding="utf-8")


def read_report(folder: Path) -> dict[str, Any] | None:
    """Read the report of a model's folder; None if it has none.

    Raises
    ------
    ConfigError
        It cannot be read.
    """
    file = folder / JSON_FILE
    if not file.exists():
        return None
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        found = json.loads(file.read_text(encoding="utf-8"))
        return {**found, "text": format_markdown(found)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}; adapt the model again") from error


def format_markdown(document: Mapping[str, Any]) -> str:
    """Format the report for people."""
    return "".join(f"{to_one_line(line)}\n" for line in _list_lines(document))


def _list_lines(document: Mapping[str, Any]) -> Iterator[str]:
    version = document["version"] or "no model was written"
    yield f"# {version}, adapted to {document['watch']}"
    yield ""
    yield (
        f"From {document['version_before']}. Trained: {document['trained']}, {document['best_step']} of "
        f"{document['history'][-1][0]} steps kept. Judged objects: {document['objects']}, labelled points: "
        f"{document['points']}."
    )
    tiles, places = document["tiles"], document["places"]
    yield (
        "Places (tiles) for training, stopping, judging: "
        + ", ".join(f"{places[part]} ({tiles[part]})" for part in ("learn", "stop", "judge"))
        + "."
    )
    yield ""
    yield "Before and after, on the ground for judging; 95 % intervals by bootstrap over its places:"
    yield ""
    yield "| target | IoU | precision | recall | tiles without it that are marked |"
    yield "| --- | --- | --- | --- | --- |"
    for old, new in zip(document["before"], document["after"], strict=True):
        cells = [f"{_share(old[name])} -> {_share(new[name])}" for name in ("iou", "precision", "recall")]
        absent = f"{old['absent_marked']} -> {new['absent_marked']} of {new['absent_tiles']}"
        yield f"| {new['target']} | {' | '.join(cells)} | {absent} |"
    yield ""
    yield from _list_scene(document.get("scene"), document.get("scene_missing"))


def _list_scene(scene: Mapping[str, Any] | None, missing: str | None) -> Iterator[str]:
    if scene is None:
        yield f"No comparison on the newest clear scene: {missing or 'none was made'}."
        return
    where = "the whole area" if scene["whole_area"] else f"a square of {scene['tiles']} tiles"
    yield f"On the newest clear scene, {scene['scene']}, {where}:"
    yield ""
    yield "| target | objects | gained | lost | hectares in both | before only | after only | IoU |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in scene["targets"]:
        areas = " | ".join(
            f"{one[name] / 1e4:.2f}" for name in ("both_m2", "only_before_m2", "only_after_m2")
        )
        iou = "" if one["iou"] is None else format_share(one["iou"])
        counts = f"{one['before']} -> {one['after']} | {one['gained']} | {one['lost']}"
        yield f"| {one['target']} | {counts} | {areas} | {iou} |"


def _share(score: Mapping[str, Any]) -> str:
    if score["value"] is None:
        return "-"
    return f"{format_share(score['value'])} ({format_share(score['low'])}-{format_share(score['high'])})"
