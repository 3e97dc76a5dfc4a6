"""Settings of the segmenter."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from segwatch.flows.config.settings.fields import Settings


class ModelSettings(Settings):
    """Which segmenter runs, and on which device."""

    segmenter: str | None = Field(
        None,
        description="module:factory of a segmenter, or spectral (thresholds of spectral indices); unset = SegEarth-R2",
    )
    shadow: str | None = Field(
        None,
        description="second segmenter that is compared with the first on every scene and never published: spectral or "
        "module:factory; a watch may choose otherwise; unset = none",
    )
    model_path: str | None = Field(
        None, description="folder or hub id of a checkpoint; unset = segearth-r2-tiny"
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
        if self.segmenter and self.model_path:
            raise ValueError(
                f"SEGWATCH_SEGMENTER={self.segmenter} and SEGWATCH_MODEL_PATH={self.model_path} exclude each "
                "other; unset one"
            )
        if self.shadow and self.shadow == self.segmenter:
            raise ValueError(
                f"SEGWATCH_SHADOW={self.shadow} is SEGWATCH_SEGMENTER, too; name another one, or unset it"
            )
        return self
