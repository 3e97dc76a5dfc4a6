"""Putting image tokens and a separately tokenised instruction where their placeholders stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segwatch.model.errors import InputError

IMAGE_ID = -200
"""Placeholder of the image tokens."""
REFER_ID = -204
"""Placeholder of the instruction in the training layout."""
IGNORE_LABEL = -100


@dataclass(frozen=True)
class Spliced:
    """A right-padded batch of embeddings and where its parts lie."""

    embeds: Tensor
    """(B, L, hidden), zeros past each sequence's end."""
    lengths: list[int]
    """True length of each sequence."""
    image_start: Tensor
    """(B,) int64 position of the first image token."""
    places: list[Tensor]
    """Per sequence, on the CPU, position of each original id (of its first token where it was replaced)."""


def splice(
    input_ids: Sequence[Tensor],
    image_tokens: Tensor,
    refer_ids: Sequence[Tensor] | None,
    embed: Callable[[Tensor], Tensor],
) -> Spliced:
    """Replace placeholders and pad.

    Where placeholders stand is worked out on the CPU, so that nothing waits for the device of the image tokens.

    Args:
        input_ids: per sequence (n,) int64 with exactly one ``IMAGE_ID`` and any ``REFER_ID``, on the CPU.
        image_tokens: (B, N, hidden).
        refer_ids: per sequence (m,) int64 on the CPU, needed where ``REFER_ID`` occurs.
        embed: embedding of ids that are on the image tokens' device.

    Raises:
        InputError: if placeholders and inputs do not fit together.
    """
    if len(input_ids) != image_tokens.shape[0]:
        raise InputError(
            f"{len(input_ids)} id sequences for {image_tokens.shape[0]} images: give one per image"
        )
    device = image_tokens.device

    def embedded(some: Tensor) -> Tensor:
        return embed(some.to(device, non_blocking=True))

    rows, places, starts = [], [], []
    for index, ids in enumerate(input_ids):
        images = (ids == IMAGE_ID).nonzero().flatten().tolist()
        if len(images) != 1:
            raise InputError(
                f"sequence {index} holds {len(images)} image placeholders ({IMAGE_ID}); give exactly 1"
            )
        refer = refer_ids[index] if refer_ids is not None else None
        if refer is None and bool((ids == REFER_ID).any()):
            raise InputError(
                f"sequence {index} holds an instruction placeholder ({REFER_ID}) but no refer_ids"
            )
        widths = torch.ones_like(ids)
        widths[ids == IMAGE_ID] = image_tokens.shape[1]
        if refer is not None:
            widths[ids == REFER_ID] = len(refer)
        place = widths.cumsum(0) - widths
        places.append(place)
        starts.append(place[images[0]])
        rows.append(torch.cat(_pieces(ids, image_tokens[index], refer, embedded)))
    return Spliced(
        embeds=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        lengths=[len(row) for row in rows],
        image_start=torch.stack(starts).to(device, non_blocking=True),
        places=places,
    )


def _pieces(
    ids: Tensor, image: Tensor, refer: Tensor | None, embed: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    pieces, begin = [], 0
    for stop in (ids < 0).nonzero().flatten().tolist():
        pieces.append(embed(ids[begin:stop]))
        pieces.append(image if ids[stop] == IMAGE_ID or refer is None else embed(refer))
        begin = stop + 1
    return [*pieces, embed(ids[begin:])]


def spliced_labels(labels: Sequence[Tensor], spliced: Spliced) -> Tensor:
    """(B, L) int64 labels at the spliced positions, ``IGNORE_LABEL`` at placeholders and padding.

    Args:
        labels: per sequence (n,) int64 on the CPU, below 0 where a position does not count.
        spliced: the sequences.
    """
    out = torch.full(spliced.embeds.shape[:2], IGNORE_LABEL, dtype=torch.long)
    for row, (label, place) in enumerate(zip(labels, spliced.places, strict=True)):
        counts = label >= 0
        out[row, place[counts]] = label[counts]
    return out.to(spliced.embeds.device, non_blocking=True)
