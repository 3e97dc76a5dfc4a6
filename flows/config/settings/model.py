"""Settings of the segmenter."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from segwatch.flows.config.settings.fields import Settings

#: Value of ``shadow`` in a watch file that switches off the shadow of the settings.
_NO_SHADOW = "none"


class ModelSettings(Settings):
    """Which segmenter runs, and on which device."""

    segmenter: str | None = Field(
        None,
        description="module:factory of a segmenter, or spectral (thresholds of spectral indices); unset = SegEarth-R2",
    )
    model: Literal["segearth-r2", "sam3"] = Field(
        "segearth-r2",
        description="architecture of the checkpoint; sam3 needs weights of your own (SAM License)",
    )
    model_path: str | None = Field(
        None,
        description="folder or hub id of a checkpoint; unset = segearth-r2-tiny",
        examples=["/models/sam3"],
    )
    shadow: str | None = Field(
        None,
        description="second segmenter that is compared with the first and never published: spectral, sam3, segearth-r2 "
        "or module:factory; a watch may choose otherwise; unset = none",
    )
    shadow_model_path: str | None = Field(
        None,
        description="folder or hub id of the shadow's checkpoint, for sam3 and segearth-r2",
        examples=["/models/next"],
    )
    shadow_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of a watch's scenes that the shadow is run on, always the same ones",
    )
    exemplars: int = Field(
        0,
        ge=0,
        le=200,
        description="newest reviewed objects of a watch that are given to the segmenter as exemplars; only sam3 and "
        "segmenters of your own use them",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    memory_gib: float | None = Field(
        None,
        gt=0,
        description="maximum GPU memory used, weights included; unset = all free memory",
        examples=[40],
    )
    compile: bool = Field(
        False, description="compile the model on its first tiles (takes minutes; needs a C compiler)"
    )

    @model_validator(mode="after")
    def _check_one_segmenter(self) -> Self:
        for name, value in (("MODEL_PATH", self.model_path), ("MODEL", self._chosen_model)):
            if self.segmenter and value:
                raise ValueError(
                    f"SEGWATCH_SEGMENTER={self.segmenter} and SEGWATCH_{name}={value} exclude each other; unset one"
                )
        if self.shadow and self.is_main(self.shadow):
            raise ValueError(f"SEGWATCH_SHADOW={self.shadow} {self.how_to_differ}")
        return self

    def choose_shadow(self, of_watch: str | None) -> str | None:
        """Return the name of the shadow segmenter of a watch that names one, or none; None if it has none."""
        name = of_watch or self.shadow
        return None if name == _NO_SHADOW else name

    def is_main(self, shadow: str) -> bool:
        """Return whether a shadow segmenter would be the main one: of one name, and with one checkpoint."""
        if self.segmenter is not None:
            return shadow == self.segmenter
        return shadow == self.model and self.shadow_model_path == self.model_path

    @property
    def how_to_differ(self) -> str:
        """What is wrong with a shadow that is the main segmenter, in words that follow its name."""
        if self.segmenter is not None:
            return "is SEGWATCH_SEGMENTER, too, and would compare it with itself; name another one, or none"
        return (
            "is the main segmenter, too, with the same checkpoint, and would compare it with itself; name another one, "
            "or set SEGWATCH_SHADOW_MODEL_PATH to another checkpoint"
        )

    @property
    def _chosen_model(self) -> str | None:
        """The architecture, where it is not the default."""
        return None if self.model == "segearth-r2" else self.model
