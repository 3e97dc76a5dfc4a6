"""How much the masks of a model depend on the words of an instruction.

The rewordings are templates over the targets with the field's synonyms: the same instruction always gets the same ones.
An instruction that says more than its targets ("the roads that the flood cut off") keeps its own words in some of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from sqlalchemy import Engine

from segwatch.db import rewordings, watches
from segwatch.db.rewordings import RewordingAgreement
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference import watch_models
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.learning.rescan import (
    MAX_TILES,
    limit_area,
    load_newest_clear,
    predict_again,
    require_result,
)
from segwatch.geo.agreement import compute_agreement
from segwatch.geo.text.shares import format_share
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Instruction

#: Agreement below which the words of an instruction decide more than the ground does.
LOW_AGREEMENT = 0.7
_MAX_REWORDINGS = 5
#: Other names of common targets, by every one of their names.
_SYNONYMS = (
    ("water", "water bodies", "open water"),
    ("lakes", "lakes and ponds", "water bodies"),
    ("flooded areas", "flood water", "inundated land"),
    ("buildings", "houses", "built structures"),
    ("roads", "streets", "paved roads"),
    ("forest", "woodland", "tree cover"),
    ("crop fields", "cropland", "farmland"),
    ("burned area", "burn scar", "burned ground"),
    ("bare ground", "bare soil", "open soil"),
)
_TEMPLATES = ("outline all {}", "map the {} in this image", "find the {}")


def compose_rewordings(instruction: Instruction) -> tuple[str, ...]:
    """Compose three to five rewordings of an instruction, each different from it."""
    targets = instruction.targets
    own = " ".join(instruction.text.split()).rstrip(".?!")
    first = " and the ".join(targets)
    second, third = (" and the ".join(_rename(one, at) for one in targets) for at in (1, 2))
    words = [
        *(_TEMPLATES[index].format(name) for index, name in enumerate((first, second, third)) if name),
        f"please {own[:1].lower()}{own[1:]}",
        f"in this image, {own[:1].lower()}{own[1:]}",
        own if own != instruction.text else f"{own}.",
    ]
    known = {instruction.text.casefold()}
    kept = [one for one in dict.fromkeys(words) if one.casefold() not in known]
    return tuple(kept[:_MAX_REWORDINGS])


def _rename(target: str, at: int) -> str:
    """Return another name of a target; its own name where none is known."""
    name = target.casefold()
    for group in _SYNONYMS:
        if name in group or f"{name}s" in group:
            others = [one for one in group if one not in {name, f"{name}s"}]
            return others[(at - 1) % len(others)]
    return target


def measure_rewordings(
    engine: Engine,
    settings: FlowSettings,
    watch: str,
    *,
    segmenter: Segmenter | None = None,
    max_tiles: int = MAX_TILES,
) -> RewordingAgreement:
    """Measure and store the agreement over rewordings on the newest clear scene of a watch.

    Parameters
    ----------
    segmenter
        None = the model of the watch.
    max_tiles
        Most tiles that are predicted, each for every rewording.

    Raises
    ------
    NotFound
        There is no such watch, or it has no observed scene.
    FlowError
        The scene cannot be predicted any more.
    """
    with engine.connect() as conn:
        stored, clear, shown = load_newest_clear(conn, settings, watch)
        (_, chosen), *_ = watch_models.list_models(conn, settings, watch)
    model = segmenter or watch_models.load_model(settings, chosen)
    area = limit_area(stored, clear.footprint, model.tile_px, max_tiles)
    words = compose_rewordings(stored.instruction)
    asked = [
        replace(stored, area=area, instruction=replace(stored.instruction, text=text))
        for text in (stored.instruction.text, *words)
    ]
    outcomes = predict_again(shown, asked, model, settings.tile_batch)
    own, *others = (require_result(one, f"{watch}, {shown.scene.key}") for one in outcomes)
    by_target = _compare(own, others)
    measured = RewordingAgreement(
        watch,
        model.version,
        clear.scene_id,
        words,
        own.tiles,
        fmean(by_target.values()) if by_target else None,
        by_target,
    )
    with engine.begin() as conn:
        rewordings.save(conn, watches.make_instruction_id(stored.instruction), measured)
    return measured


def _compare(own: ObservationResult, others: Sequence[ObservationResult]) -> dict[str, float]:
    """Compute the mean IoU of each target that any of the results has; a target that neither of two has agrees."""
    targets = sorted({one.target for result in (own, *others) for one in result.detections})
    values: dict[str, list[float]] = {name: [] for name in targets}
    for other in others:
        for one in compute_agreement(own, other, "", targets).targets:
            values[one.target].append(1.0 if one.iou is None else one.iou)
    return {name: fmean(found) for name, found in values.items()}


def describe_agreement(found: RewordingAgreement | None, watch: str) -> str | None:
    """Describe what a person should know before relying on the words; None if the agreement is high."""
    if found is None:
        return (
            "how much its words decide was not measured; once a scene is observed, run: "
            f"segwatch model rewordings {watch}"
        )
    if found.agreement is None:
        return (
            f"neither its words nor {len(found.wordings)} rewordings marked anything on {found.watch}'s scene"
        )
    if found.agreement >= LOW_AGREEMENT:
        return None
    return (
        f"over {len(found.wordings)} rewordings the masks of {found.model} agree by "
        f"{format_share(found.agreement)} only (mean IoU, measured on {found.watch}): the words decide as much as the "
        "ground; try others, such as "
        f"{found.wordings[0]!r}, and measure again: segwatch model rewordings {watch}"
    )
