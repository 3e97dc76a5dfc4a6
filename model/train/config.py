"""Configuration of a training run (recipe), read from a TOML file and validated once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from segwatch.model.errors import ConfigError
from segwatch.model.train.scenes import GSD_M, TARGETS, Gsd, Target

MADE, LABELLED = "made", "labelled"
Folder = Annotated[Path, AfterValidator(Path.expanduser)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Start(_Section):
    """Weights before the first step."""

    checkpoint: Folder | None = Field(
        None, description="folder of a model; unset = segearth-r2-tiny with random weights"
    )
    pixel_steps: int = Field(0, ge=0, description="steps on pixels alone; simulated scenes only")
    pixel_rate: float = Field(1e-3, gt=0, description="learning rate of the pixel steps")
    word_steps: int = Field(0, ge=0, description="steps on text alone; simulated scenes only")
    word_rate: float = Field(2e-3, gt=0, description="learning rate of the text steps")


class PublicSet(_Section):
    """A public data set beside the first one."""

    kind: Literal["lasers", "earthreason", "rrsis-d", "risbench", "refsegrs"]
    root: Path = Field(description="folder of the data set")
    split: str = "train"
    share: float = Field(1.0, gt=0, description="images drawn from it, relative to the other sets' shares")


class Data(_Section):
    """Training data."""

    kind: Literal["made", "labelled", "lasers", "earthreason", "rrsis-d", "risbench", "refsegrs"] = "made"
    root: Path = Field(
        description="folder of the demo imagery (kind made), of the labelled sets or their archive, or of the data set"
    )
    demo: Path | None = Field(None, description="folder of the demo imagery, to add to the labelled sets")
    made_share: float = Field(0.28, ge=0, le=1, description="share of simulated scenes beside labelled sets")
    split: str = "train"
    share: float = Field(1.0, gt=0, description="images drawn from it, relative to the shares of data.more")
    more: tuple[PublicSet, ...] = Field((), description="further public data sets")
    scenes: int = Field(800, ge=1, description="simulated scenes kept in memory")
    scene_px: int = Field(256, ge=32, description="side of a simulated scene, pixels")
    targets: tuple[Target, ...] = Field(TARGETS, min_length=1, description="classes of simulated scenes")
    gsd_m: tuple[Gsd, ...] = Field(
        GSD_M, min_length=1, description="ground sample distances of simulated scenes, metres"
    )
    real_share: float = Field(0.5, ge=0, le=1, description="share of real crops among simulated scenes")


class Mix(_Section):
    """Mix of instructions on simulated scenes and real crops; shares hold where the image allows them."""

    absent: float = Field(0.33, ge=0, le=1, description="share for absent targets")
    empty: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of these whose text points at an empty mask; the others deny the target",
    )
    two: float = Field(0.12, ge=0, le=1, description="share for two targets")
    three: float = Field(0.06, ge=0, le=1, description="share for three targets")
    unnamed: float = Field(
        0.12, ge=0, le=1, description="share of instructions for one target that do not name it"
    )
    balanced: bool = Field(
        True, description="ask for targets that few scenes contain (or lack) as often as for the others"
    )


class Masks(_Section):
    """A run on the mask branch alone, with queries of a frozen language branch."""

    encoder: Path | None = Field(
        None, description="file of EfficientNet-lite0 weights; unset = the installed package's"
    )
    encoder_share: float = Field(
        1.0, gt=0, description="learning rate of the mask encoder relative to the run's"
    )
    phrases: int = Field(60, ge=1, description="instructions per target in the query bank")
    targets_per_image: float = Field(3, ge=1, description="mean number of targets per crop")
    workers: int = Field(0, ge=0, description="processes that prepare batches; 0 = the training process")


class Optimizer(_Section):
    """Learning rate and length of the run; the defaults are the published recipe's where it has one."""

    steps: int = Field(5000, ge=1)
    images: int = Field(1, ge=1, description="images per process and pass")
    pairs_per_image: int = Field(1, ge=1, description="instructions per image")
    accumulate: int = Field(1, ge=1, description="passes per step")
    learning_rate: float = Field(5e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(150, ge=0)
    decay_steps: int | None = Field(
        None, ge=1, description="steps over which the learning rate decays; unset = all"
    )
    clip_norm: float = Field(1.0, gt=0)
    average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay per step of a running average of the weights, which is then written",
    )
    coarse_share: float = Field(
        0.0, ge=0, le=1, description="first share of the run on mask views of half the side"
    )


class Loss(_Section):
    """Weights of the loss terms, and points of the mask loss."""

    cross_entropy: float = Field(5.0, ge=0)
    dice: float = Field(5.0, ge=0)
    attention: float = Field(0.01, ge=0)
    language: float = Field(1.0, ge=0)
    presence: float = Field(0.0, ge=0)
    points: int = Field(12_544, ge=1, description="points per mask")

    def weights(self) -> dict[str, float]:
        """Return the weight of each term by its name."""
        return self.model_dump(exclude={"points"})


AdaptedLayer = Literal["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"]
TrainedPart = Literal[
    "embedding",
    "final_norm",
    "lm_head",
    "projector",
    "mask_encoder",
    "pixel_decoder",
    "query_projector",
    "mask_decoder",
    "presence",
]


class Lora(_Section):
    """Low-rank adapters on the language model, whose own weights stay frozen, and what is trained beside them."""

    rank: int = Field(4, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    layers: tuple[AdaptedLayer, ...] = Field(
        get_args(AdaptedLayer), min_length=1, description="layers of the language model that get an adapter"
    )
    whole: tuple[TrainedPart, ...] = Field(
        get_args(TrainedPart), description="parts that are trained whole; the others stay as they are"
    )
    frozen: Literal["float32", "bfloat16"] = Field(
        "float32", description="precision in which the language half's frozen weights are kept"
    )


class Run(_Section):
    """Output and execution; only seed and precision affect what is learned."""

    seed: int = Field(7, ge=0)
    out: Folder = Field(description="output folder for the model")
    state: Folder = Field(description="folder of the resumable state and losses.jsonl")
    store: Literal["float32", "float16", "bfloat16"] = "float32"
    start_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of start.checkpoint in the written weights; the rest is trained",
    )
    precision: Literal["no", "bf16", "fp16"] = "no"
    device: Literal["auto", "cpu"] = "auto"
    shard: bool = Field(
        False,
        description="spread weights, gradients and optimizer over the processes (FSDP) instead of copying them",
    )
    threads: int | None = Field(None, ge=1)
    nice: int = Field(0, ge=0, le=19, description="niceness of the process; 19 = lowest priority")
    checkpoint_minutes: float = Field(4.0, gt=0)
    stop_after_minutes: float | None = Field(
        None, gt=0, description="save and end after this time, to be resumed; unset = train to the end"
    )
    log_every: int = Field(20, ge=1)


class TrainConfig(_Section):
    """Configuration of a whole run."""

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
                f"data.kind={self.data.kind} needs start.checkpoint: only simulated scenes can train random weights"
            )
        if self.data.kind != MADE and (self.start.pixel_steps or self.start.word_steps):
            raise ValueError(
                "start.pixel_steps and start.word_steps need simulated scenes; leave them out, or "
                f"data.kind={self.data.kind}"
            )
        if self.data.more and self.data.kind in {MADE, LABELLED}:
            raise ValueError(
                f"data.more adds public data sets to a public one, and data.kind is {self.data.kind}"
            )
        if self.lora is not None and self.lora.frozen == "bfloat16" and self.run.precision != "bf16":
            raise ValueError(f"lora.frozen=bfloat16 needs run.precision=bf16, and it is {self.run.precision}")
        if self.run.shard and (
            self.masks is not None or self.optimizer.average or self.run.precision == "fp16"
        ):
            raise ValueError("run.shard goes without [masks], optimizer.average and run.precision=fp16")
        if self.run.start_share and self.start.checkpoint is None:
            raise ValueError("run.start_share mixes with start.checkpoint; name one")
        return self

    def learned(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with the run it continues."""
        # the location of the data and the number of workers do not affect what is learned
        without: Any = {
            "run": True,
            "optimizer": {"accumulate"},
            "masks": {"workers", "encoder"},
            "data": {"root": True, "demo": True, "more": {"__all__": {"root"}}},
        }
        kept = self.model_dump(mode="json", exclude=without)
        return {**kept, "seed": self.run.seed, "precision": self.run.precision, "shard": self.run.shard}

    def complete(self, learned: Mapping[str, Any]) -> dict[str, Any]:
        """Add the defaults of settings that did not exist when an earlier run stored its :meth:`learned`."""
        complete: dict[str, Any] = {"shard": False, **learned}
        for name, section in self.learned().items():
            stored = complete.get(name)
            if isinstance(section, dict) and isinstance(stored, dict):
                fields = getattr(self, name).__class__.model_fields
                defaults = {key: fields[key].get_default() for key in section if key not in stored}
                complete[name] = {**json.loads(json.dumps(defaults)), **stored}
        return complete


def load_config(file: Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe.

    Parameters
    ----------
    file
        TOML.
    changes
        ``section.field=value``, value in TOML or a bare word.

    Raises
    ------
    ConfigError
        Naming each field, its value and what is wrong with it.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
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
    except (ValueError, RecursionError):
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
