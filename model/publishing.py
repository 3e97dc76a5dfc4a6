"""Publish a model: a folder of safetensors with a card that says where it comes from and what it can do.

The card follows Model Cards for Model Reporting, arXiv 1810.03993, in the form that the Hugging Face hub reads.
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segwatch.model import checkpoint, model_version, pretrained, prompt, tokenizer
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import CheckpointError

CARD_FILE = "README.md"
"""Name under which a hub shows the card."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class DataCredit(_Section):
    """Data that the model was trained on."""

    name: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    attribution: str = Field(min_length=1, description="credit in the words that its owner asks for")
    places: str = Field(
        min_length=1, description="where on Earth, and how training and held-out places are kept apart"
    )


class Figure(_Section):
    """A measured figure."""

    what: str = Field(min_length=1, description="set, target and metric")
    value: float
    low: float | None = Field(None, description="lower end of the 95 % interval")
    high: float | None = Field(None, description="upper end of the 95 % interval")
    held_out: bool = Field(description="whether no place of the set was trained on")


class CardFacts(_Section):
    """What only the model's maker knows; a TOML file."""

    licence: str = Field(min_length=1, description="SPDX identifier of the licence of the weights")
    summary: str = Field(min_length=1, description="what the model is for, in a sentence or two")
    limits: tuple[str, ...] = Field(min_length=1, description="what it cannot do")
    data: tuple[DataCredit, ...] = Field(min_length=1)
    figures: tuple[Figure, ...] = ()
    parts: tuple[DataCredit, ...] = Field((), description="published weights that training began with")


@dataclass(frozen=True)
class PublishedModel:
    """Result of publishing."""

    version: str
    """Model version, the source's: its weights are copied byte by byte."""
    files: tuple[str, ...]
    bytes: int


def read_facts(file: Path) -> CardFacts:
    """Read the facts of a card.

    Raises
    ------
    CheckpointError
        The file is unreadable, or a fact is missing, empty or unknown; the licence is one of them.
    """
    try:
        return CardFacts.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}"
            for one in error.errors(include_url=False)
        ]
        raise CheckpointError(f"{file}: {'; '.join(lines)}. A model is not published without them") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not a readable TOML file ({error})") from error


def read_text(file: Path) -> str:
    """Read a text file for the card.

    Raises
    ------
    CheckpointError
        The file is unreadable.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not a readable text file ({error})") from error


def publish_model(
    source: Path, out: Path, facts: CardFacts, *, evaluations: Sequence[str] = (), recipe: str | None = None
) -> PublishedModel:
    """Write a folder that :func:`segwatch.model.pretrained.load_pretrained` reads, with its card; whole or not at all.

    Parameters
    ----------
    source
        Folder of a trained or converted model.
    out
        New folder.
    facts
        Of the card.
    evaluations
        Tables in Markdown, such as ``results.md`` of ``segwatch model eval``.
    recipe
        Training recipe to put into the card.

    Raises
    ------
    CheckpointError
        The model is incomplete or does not fit its tokenizer, or ``out`` exists.
    """
    if out.exists():
        raise CheckpointError(f"{out} exists and is left unchanged; give a folder that does not exist")
    pretrained.check_pretrained(source)
    config = pretrained.read_config(source)
    weights = checkpoint.list_weight_files(source)
    shapes = checkpoint.read_shapes(weights)
    words = tokenizer.load_tokenizer(source)
    for name, token in (("eos_token_id", prompt.END), ("seg_token_id", prompt.SEG)):
        if (wanted := tokenizer.get_token_id(words, token)) != getattr(config, name):
            raise CheckpointError(
                f"{source}: {name} is {getattr(config, name)}, and the tokenizer's {token} is {wanted}; run segwatch "
                "model convert, which repairs it"
            )
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        words.save_pretrained(partial)
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")
        index = source / checkpoint.INDEX_FILE
        for file in (*weights, *([index] if index.exists() else [])):
            shutil.copyfile(file, partial / file.name)
        version = model_version.compute_version(partial)
        values = sum(_count_values(shape) for shape in shapes.values())
        card = write_card(config, version, values, facts, evaluations, recipe)
        (partial / CARD_FILE).write_text(card, encoding="utf-8")
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    files = sorted(path for path in out.iterdir() if path.is_file())
    return PublishedModel(
        version, tuple(file.name for file in files), sum(file.stat().st_size for file in files)
    )


def _count_values(shape: Sequence[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def write_card(
    config: SegEarthConfig,
    version: str,
    values: int,
    facts: CardFacts,
    evaluations: Sequence[str] = (),
    recipe: str | None = None,
) -> str:
    """Write the card in Markdown, with the header that the hub reads."""
    header: dict[str, Any] = {
        "license": facts.licence,
        "library_name": "segwatch",
        "pipeline_tag": "image-segmentation",
    }
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in header.items()), "---", ""]
    lines += [f"# {config.name}", "", facts.summary, ""]
    lines += [
        f"SegEarth-R2 (arXiv 2512.20013), {values / 1e6:.1f} million values, mask encoder {config.mask_encoder}, "
        f"version `{version}`. Licence of the weights: {facts.licence}.",
        "",
        "```console",
        "export SEGWATCH_MODEL_PATH=FOLDER   # this folder, or its hub id",
        "```",
        "",
        "## What it cannot do",
        "",
        *(f"- {limit}" for limit in facts.limits),
        "",
        "## Figures",
        "",
    ]
    lines += _format_figures(facts.figures) if facts.figures else ["No figure was measured.", ""]
    for table in evaluations:
        # headings of a table go below this section's
        lines += ["\n".join(f"##{line}" if line.startswith("#") else line for line in table.splitlines()), ""]
    lines += ["## Data", "", *_format_credits(facts.data)]
    if facts.parts:
        lines += ["## Weights that training began with", "", *_format_credits(facts.parts)]
    if recipe is not None:
        lines += ["## Training", "", "```toml", recipe.strip(), "```", ""]
    return "\n".join(lines)


def _format_figures(figures: Sequence[Figure]) -> list[str]:
    lines = ["| figure | value | 95 % interval | places |", "| --- | --- | --- | --- |"]
    for one in figures:
        interval = "not given" if one.low is None or one.high is None else f"{one.low:g} to {one.high:g}"
        places = "held out" if one.held_out else "also trained on"
        lines.append(f"| {one.what} | {one.value:g} | {interval} | {places} |")
    return [*lines, ""]


def _format_credits(credits: Sequence[DataCredit]) -> list[str]:
    lines = []
    for one in credits:
        lines.append(f"- **{one.name}** ({one.licence}): {one.attribution} Places: {one.places}")
    return [*lines, ""]
