"""Dimensions of a SegEarth-R2 model as frozen dataclasses, with two presets.

Source: SegEarth-R2, arXiv 2512.20013, and its published baseline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from segwatch.model.errors import ConfigError

FORMAT = "segwatch-segearth-r2/1"

Encoder = Literal["swin", "lite0"]
IMAGE = "<image>"
"""Place of the image in a prompt."""
INSTRUCTION = "{instruction}"
"""Place of the instruction in a prompt."""
SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
TEMPLATE = "[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{user} [/INST]"
INFERENCE_REQUEST = (
    "This is an image \n<image>\n. If the instruction is a question, provide segmentation result + explanation; if "
    "it's a declarative phrase, provide only the segmentation result\n. Please doing Referring or Reasoning "
    "Segmentation according to the following instruction:\n"
)
PUBLISHED_PROMPT = TEMPLATE.replace("{system}", SYSTEM).replace("{user}", INFERENCE_REQUEST + INSTRUCTION)
"""Prompt at inference of the published code, its grammar included."""
LITE_CHANNELS = (24, 40, 112, 320)
"""Channels of res2..res5 in EfficientNet-lite0."""

T = TypeVar("T")

#: Bounds of what a folder from elsewhere may say, before modules of that size are made. Those of sizes and ids are far
#: beyond published models; layers are made one by one.
_MAX_SIZE, _MAX_STAGES, _MAX_LAYERS = 2**20, 16, 512
_MOST = dict.fromkeys(("num_layers", "encoder_layers", "decoder_layers", "depths"), _MAX_LAYERS)
#: Fields that may be less than 1.
_LEAST = {"select_layer": -_MAX_LAYERS, "seg_token_id": 0, "eos_token_id": 0, "presence_targets": -1}


@dataclass(frozen=True)
class PhiDims:
    """Dimensions of the language model."""

    vocab_size: int = 51200
    hidden_size: int = 2560
    intermediate_size: int = 10240
    num_layers: int = 32
    num_heads: int = 32
    rotary_share: float = 0.4
    """Share of each head's width that is rotated."""
    max_positions: int = 2048
    """Maximum length of a spliced sequence, image tokens included."""


@dataclass(frozen=True)
class SiglipDims:
    """Dimensions of the vision tower (language view)."""

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_layers: int = 27
    num_heads: int = 16
    image_size: int = 384
    patch_size: int = 14
    select_layer: int = -2
    """Hidden state used as the feature, counted from the end; -1 = the last layer's output."""

    @property
    def layers_used(self) -> int:
        """Number of encoder layers that run; later ones never reach the output."""
        return self.num_layers + 1 + self.select_layer

    @property
    def grid_side(self) -> int:
        """Image tokens per side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class SwinDims:
    """Dimensions of the mask view's encoder."""

    embed_dim: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    window_size: int = 12

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of res2..res5."""
        return tuple(self.embed_dim * 2**level for level in range(len(self.depths)))


@dataclass(frozen=True)
class MaskDims:
    """Dimensions of the pixel decoder and the mask decoder."""

    width: int = 256
    num_heads: int = 8
    encoder_layers: int = 6
    encoder_feedforward: int = 1024
    decoder_layers: int = 9
    decoder_feedforward: int = 2048


@dataclass(frozen=True)
class SegEarthConfig:
    """Dimensions of a whole model."""

    name: str = "segearth-r2"
    """First half of the model version that every result carries."""
    phi: PhiDims = field(default_factory=PhiDims)
    siglip: SiglipDims = field(default_factory=SiglipDims)
    swin: SwinDims = field(default_factory=SwinDims)
    mask: MaskDims = field(default_factory=MaskDims)
    image_size: int = 1024
    """Side of the square mask view, pixels."""
    seg_token_id: int = 50295
    eos_token_id: int = 50256
    max_new_tokens: int = 128
    """Maximum length of generated text, tokens."""
    mask_encoder: Encoder = "swin"
    """Encoder of the mask view: Swin as published, or EfficientNet-lite0 for small models."""
    presence_targets: int = 0
    """Number of targets with a presence calibration of their own; 0 = no presence head, as published."""
    prompt: str = PUBLISHED_PROMPT
    """Prompt at inference, with one ``<image>`` and, after it, one ``{instruction}``. The published training prompt
    changed between releases, so it belongs to the weights."""

    def __post_init__(self) -> None:
        """Reject dimensions that cannot work; the message gives both values."""
        if self.image_size % 32:
            raise ConfigError(f"image_size={self.image_size} is not a multiple of 32, the coarsest stride")
        if self.seg_token_id >= self.phi.vocab_size:
            raise ConfigError(f"seg_token_id={self.seg_token_id} is outside vocab_size={self.phi.vocab_size}")
        if self.mask.width % 32 or self.mask.width % self.mask.num_heads:
            raise ConfigError(
                f"mask.width={self.mask.width} must be a multiple of 32 and of num_heads={self.mask.num_heads}"
            )
        if not 0 < self.siglip.layers_used <= self.siglip.num_layers:
            raise ConfigError(
                f"siglip.select_layer={self.siglip.select_layer} points outside {self.siglip.num_layers} layers"
            )
        if self.mask_encoder not in get_args(Encoder):
            raise ConfigError(
                f"mask_encoder={self.mask_encoder!r} is unknown; known are {', '.join(get_args(Encoder))}"
            )
        if self.presence_targets < 0:
            raise ConfigError(
                f"presence_targets={self.presence_targets} is negative; 0 means no presence head"
            )
        check_prompt(self.prompt)
        if len(self.swin.depths) != 4 or len(self.swin.num_heads) != 4:
            raise ConfigError(
                f"swin needs four stages, got depths {self.swin.depths}, heads {self.swin.num_heads}"
            )
        if any(width % heads for width, heads in zip(self.swin.channels, self.swin.num_heads, strict=True)):
            raise ConfigError(
                f"swin.num_heads={self.swin.num_heads} do not divide the widths {self.swin.channels}"
            )
        if self.siglip.patch_size > self.siglip.image_size:
            raise ConfigError(
                f"siglip.patch_size={self.siglip.patch_size} is larger than image_size={self.siglip.image_size}"
            )

    @property
    def num_image_tokens(self) -> int:
        """Number of tokens that replace the image placeholder."""
        return self.siglip.grid_side**2

    @property
    def mask_channels(self) -> tuple[int, ...]:
        """Channels of res2..res5 of the mask view's encoder."""
        return LITE_CHANNELS if self.mask_encoder == "lite0" else self.swin.channels

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict that :meth:`from_dict` reads."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegEarthConfig:
        """Read a dict that :meth:`to_dict` wrote.

        Raises
        ------
        ConfigError
            The format differs, or a field is unknown, of another kind, or larger than any model's.
        """
        values = dict(data)
        found = values.pop("format", None)
        if found != FORMAT:
            raise ConfigError(f"configuration format is {found!r}, expected {FORMAT!r}")
        parts = {"phi": PhiDims, "siglip": SiglipDims, "swin": SwinDims, "mask": MaskDims}
        for key, kind in parts.items():
            values[key] = _read(kind, values.get(key, {}), key)
        return _read(cls, values, "model")

    @classmethod
    def from_oracle(cls, data: Mapping[str, Any]) -> SegEarthConfig:
        """Read the configuration in the record of the published code's numbers, see :mod:`segwatch.model.parity`."""
        phi, siglip, swin, mask = data["phi"], data["siglip"], data["swin"], data["mask"]
        return cls(
            name="oracle",
            phi=PhiDims(
                vocab_size=phi["vocab_size"],
                hidden_size=phi["hidden_size"],
                intermediate_size=phi["intermediate_size"],
                num_layers=phi["num_hidden_layers"],
                num_heads=phi["num_attention_heads"],
                rotary_share=phi["partial_rotary_factor"],
            ),
            siglip=SiglipDims(
                hidden_size=siglip["hidden_size"],
                intermediate_size=siglip["intermediate_size"],
                num_layers=siglip["num_hidden_layers"],
                num_heads=siglip["num_attention_heads"],
                image_size=siglip["image_size"],
                patch_size=siglip["patch_size"],
                select_layer=siglip["mm_vision_select_layer"],
            ),
            swin=SwinDims(
                embed_dim=swin["embed_dim"],
                depths=tuple(swin["depths"]),
                num_heads=tuple(swin["num_heads"]),
                window_size=swin["window_size"],
            ),
            mask=MaskDims(
                width=mask["hidden_dim"],
                num_heads=mask["nheads"],
                encoder_layers=mask["enc_layers"],
                decoder_feedforward=mask["dim_feedforward"],
                # the published code counts the prediction before the first layer as a layer
                decoder_layers=mask["dec_layers"] - 1,
            ),
            image_size=data["image_size"],
            seg_token_id=data["seg_token_id"],
        )


def check_prompt(text: str) -> None:
    """Check that a prompt has a place for the image and, after it, one for the instruction.

    Raises
    ------
    ConfigError
        A place is missing, occurs twice, or the order differs.
    """
    for place in (IMAGE, INSTRUCTION):
        if (count := text.count(place)) != 1:
            raise ConfigError(f"prompt has {place} {count} times; write it once: {text!r}")
    if text.index(INSTRUCTION) < text.index(IMAGE):
        raise ConfigError(f"prompt has {INSTRUCTION} before {IMAGE}; write the image first: {text!r}")


def make_base_config() -> SegEarthConfig:
    """Return the official dimensions: Phi-2, SigLIP so400m, Swin-B, 3.33 B parameters."""
    return SegEarthConfig()


def make_tiny_config() -> SegEarthConfig:
    """Return the same architecture with about 4 M parameters, small enough to ship and to run on a laptop."""
    return SegEarthConfig(
        name="segearth-r2-tiny",
        phi=PhiDims(
            vocab_size=1024,
            hidden_size=128,
            intermediate_size=512,
            num_layers=4,
            num_heads=4,
            rotary_share=0.5,
            max_positions=512,
        ),
        siglip=SiglipDims(
            hidden_size=96,
            intermediate_size=256,
            num_layers=4,
            num_heads=4,
            image_size=112,
        ),
        swin=SwinDims(embed_dim=32, depths=(2, 2, 2, 2), num_heads=(2, 4, 8, 16), window_size=8),
        mask=MaskDims(
            width=64,
            encoder_layers=2,
            encoder_feedforward=256,
            decoder_layers=3,
            decoder_feedforward=256,
        ),
        image_size=256,
        seg_token_id=1023,
        eos_token_id=1022,
        max_new_tokens=24,
    )


def _read(kind: type[T], values: Any, where: str) -> T:
    known = get_type_hints(kind)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is {_show(values)}, not an object")
    if surplus := sorted(set(values) - set(known)):
        raise ConfigError(
            f"unknown field {', '.join(surplus)[:200]} in {where}; known are {', '.join(sorted(known))}"
        )
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    for key, value in given.items():
        if not _fits(value, known[key], key):
            raise ConfigError(
                f"{where}.{key} is {_show(value)}, which no model has; take the file of its weights"
            )
    return kind(**given)


def _show(value: Any) -> str:
    """Show a number or short text; of anything else its kind, as it may be nested more deeply than repr can follow."""
    is_plain = value is None or isinstance(value, int | float | str)
    return f"{value!r:.100}" if is_plain else type(value).__name__


def _fits(value: Any, kind: Any, name: str) -> bool:
    """Whether a value is of the kind of its field, and so small that a model of that size may exist."""
    if kind is int:
        least = _LEAST.get(name, 1)
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and least <= value <= _MOST.get(name, _MAX_SIZE)
        )
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    if kind == tuple[int, ...]:
        return (
            isinstance(value, tuple)
            and len(value) <= _MAX_STAGES
            and all(_fits(one, int, name) for one in value)
        )
    return isinstance(value, str) if kind is str or get_args(kind) else isinstance(value, kind)
