"""Settings of the segmenter."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from segwatch.flows.config.settings.fields import Settings


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
        if self.shadow and self.shadow == self.segmenter:
            raise ValueError(
                f"SEGWATCH_SHADOW={self.shadow} is SEGWATCH_SEGMENTER, too; name another one, or unset it"
            )
        return self

    @property
    def _chosen_model(self) -> str | None:
        """The architecture, where it is not the default."""
        return None if self.model == "segearth-r2" else self.model
