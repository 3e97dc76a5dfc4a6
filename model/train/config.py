"""Everything that a training run depends on, read from a TOML file and checked once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from segwatch.model.errors import ConfigError
from segwatch.model.train.scenes import GSD_M, TARGETS, Gsd, Target

MADE, LABELLED = "made", "labelled"
Folder = Annotated[Path, AfterValidator(Path.expanduser)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Start(_Section):
    """What the weights are before the first step."""

    checkpoint: Folder | None = Field(
        None, description="folder of a model; unset = segearth-r2-tiny from nothing"
    )
    pixel_steps: int = Field(0, ge=0, description="steps on pixels alone, of made scenes only")
    pixel_rate: float = Field(1e-3, gt=0, description="learning rate of these")
    word_steps: int = Field(0, ge=0, description="steps on words alone, of made scenes only")
    word_rate: float = Field(2e-3, gt=0, description="learning rate of these")


class Data(_Section):
    """What is shown."""

    kind: Literal["made", "labelled", "lasers", "earthreason", "rrsis-d", "risbench", "refsegrs"] = "made"
    root: Path = Field(
        description="folder of real imagery (made), of the labelled sets or their packed archive, or of the data set"
    )
    demo: Path | None = Field(
        None, description="folder of real imagery that is drawn from beside labelled sets"
    )
    made_share: float = Field(0.28, ge=0, le=1, description="share of made scenes beside labelled sets")
    split: str = "train"
    scenes: int = Field(800, ge=1, description="made scenes kept in memory")
    scene_px: int = Field(256, ge=32, description="side of a made scene")
    targets: tuple[Target, ...] = Field(TARGETS, min_length=1, description="classes of made scenes")
    gsd_m: tuple[Gsd, ...] = Field(
        GSD_M, min_length=1, description="ground sample distances of made scenes, metres"
    )
    real_share: float = Field(0.5, ge=0, le=1, description="share of real crops among made scenes")


class Mix(_Section):
    """What instructions on made scenes and real crops ask for. Shares hold where the image allows them."""

    absent: float = Field(0.33, ge=0, le=1, description="share that asks for what is not there")
    empty: float = Field(
        0.0, ge=0, le=1, description="share of these whose answer points at an empty mask; the others deny"
    )
    two: float = Field(0.12, ge=0, le=1, description="share that asks for two targets")
    three: float = Field(0.06, ge=0, le=1, description="share that asks for three")
    unnamed: float = Field(
        0.12, ge=0, le=1, description="share, of those for one target, of questions that do not name it"
    )
    balanced: bool = Field(
        True, description="ask for targets that few scenes hold (or lack) as often as for the others"
    )


class Masks(_Section):
    """A run on the mask branch alone: its queries are what a frozen language half makes of [SEG]."""

    encoder: Path | None = Field(
        None, description="file of EfficientNet-lite0 weights; by default the installed package's"
    )
    encoder_share: float = Field(
        1.0, gt=0, description="learning rate of the mask encoder relative to the run's"
    )
    phrases: int = Field(60, ge=1, description="instructions of each target whose [SEG] are kept")
    targets_per_image: float = Field(3, ge=1, description="about how many targets are asked for on each crop")
    workers: int = Field(0, ge=0, description="processes that prepare batches; 0 = the one that trains")


class Optimizer(_Section):
    """Pace and length. The defaults are the released recipe's where it has one."""

    steps: int = Field(5000, ge=1)
    images: int = Field(1, ge=1, description="images per process and pass")
    pairs_per_image: int = Field(1, ge=1, description="instructions of each image")
    accumulate: int = Field(1, ge=1, description="passes per step")
    learning_rate: float = Field(5e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(150, ge=0)
    decay_steps: int | None = Field(
        None, ge=1, description="steps that the learning rate falls over; by default all of them"
    )
    clip_norm: float = Field(1.0, gt=0)
    average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="what a running average of the weights keeps each step; it is what is written",
    )
    coarse_share: float = Field(
        0.0, ge=0, le=1, description="share of the run on mask views of half the side"
    )


class Loss(_Section):
    """Weights of the terms, and where the mask loss looks."""

    cross_entropy: float = Field(5.0, ge=0)
    dice: float = Field(5.0, ge=0)
    attention: float = Field(0.01, ge=0)
    language: float = Field(1.0, ge=0)
    presence: float = Field(0.0, ge=0)
    points: int = Field(12_544, ge=1, description="points per mask")

    def weights(self) -> dict[str, float]:
        """Weight of each term by its name."""
        return self.model_dump(exclude={"points"})


class Lora(_Section):
    """Low-rank adapters on the language model, whose own weights then stay as they are."""

    rank: int = Field(4, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)


class Run(_Section):
    """Where and how; nothing here changes what is learned but seed and precision."""

    seed: int = Field(7, ge=0)
    out: Folder = Field(description="folder that receives the model")
    state: Folder = Field(description="folder of the resumable state and losses.jsonl")
    store: Literal["float32", "float16", "bfloat16"] = "float32"
    start_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of start.checkpoint in the weights written, the rest being learned",
    )
    precision: Literal["no", "bf16", "fp16"] = "no"
    device: Literal["auto", "cpu"] = "auto"
    threads: int | None = Field(None, ge=1)
    nice: int = Field(
        0, ge=0, le=19, description="how much other processes go before this one; 19 = before all"
    )
    checkpoint_minutes: float = Field(4.0, gt=0)
    log_every: int = Field(20, ge=1)


class TrainConfig(_Section):
    """A whole run."""

    start: Start = Start()
    data: Data
    mix: Mix = Mix()
    masks: Masks | None = None
    optimizer: Optimizer = Optimizer()
    loss: Loss = Loss()
    lora: Lora | None = None
    run: Run

    @model_validator(mode="after")
    def _stages_fit(self) -> TrainConfig:
        if (self.masks is not None) != (self.data.kind == LABELLED and self.lora is None):
            raise ValueError(
                "[masks] goes with data.kind=labelled and without [lora]; labelled sets with instructions need [lora]"
            )
        if self.lora is not None and self.optimizer.average:
            raise ValueError(
                "optimizer.average averages whole weights, and [lora] trains adapters; set one of the two"
            )
        if self.data.kind != MADE and self.masks is None and self.start.checkpoint is None:
            raise ValueError(
                f"data.kind={self.data.kind} needs start.checkpoint: from nothing only made scenes can be learned"
            )
        if self.data.kind != MADE and (self.start.pixel_steps or self.start.word_steps):
            raise ValueError(
                "start.pixel_steps and start.word_steps need made scenes; leave them out, or "
                f"data.kind={self.data.kind}"
            )
        if self.run.start_share and self.start.checkpoint is None:
            raise ValueError("run.start_share mixes with start.checkpoint; name one")
        return self

    def learned(self) -> dict[str, Any]:
        """What a resumed run must share with the one it goes on from."""
        # neither where the material lies nor who prepares batches changes what is learned
        without: Any = {
            "run": True,
            "optimizer": {"accumulate"},
            "masks": {"workers", "encoder"},
            "data": {"root", "demo"},
        }
        kept = self.model_dump(mode="json", exclude=without)
        return {**kept, "seed": self.run.seed, "precision": self.run.precision}


def load(file: Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read a configuration.

    Args:
        file: TOML.
        changes: ``section.field=value``, value in TOML or a bare word.

    Raises:
        ConfigError: naming each field, its value and what is wrong with it.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a readable TOML file ({error})") from error
    for change in changes:
        _apply(values, change)
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{file}: {_problems(error)}") from error


def _apply(values: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot or not key:
        raise ConfigError(f"{change!r} is not of the form section.field=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    part = values.setdefault(section, {})
    if not isinstance(part, dict):
        raise ConfigError(f"{section} is {part!r}, not a section")
    part[key] = value


def _problems(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"]) or "configuration"
        got = problem.get("input")
        shown = "" if isinstance(got, Mapping) else f", got {got!r}"
        lines.append(f"{where}: {problem['msg']}{shown}")
    return "; ".join(lines)
