"""Splice image tokens, and a separately tokenised instruction, into embeddings at their placeholders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segwatch.model.errors import InputError

IMAGE_ID = -200
"""Placeholder of the image tokens."""
REFER_ID = -204
"""Placeholder of the instruction in the "refer" layout."""
IGNORE_LABEL = -100
"""Label of positions that do not count in the language loss."""


@dataclass(frozen=True)
class Spliced:
    """A right-padded batch of embeddings and the positions of its parts."""

    embeds: Tensor
    """(B, L, hidden), zeros past each sequence's end."""

    image_start: Tensor
    """(B,) int64 position of the first image token."""
    places: list[Tensor]
    """Per sequence (n,) on the CPU: spliced position of each original id, of its first token if it was replaced."""


def splice(
    input_ids: Sequence[Tensor],
    image_tokens: Tensor,
    refer_ids: Sequence[Tensor] | None,
    embed: Callable[[Tensor], Tensor],
) -> Spliced:
    """Replace placeholders and pad.

    Positions are computed on the CPU, so nothing waits for the device of the image tokens.

    Parameters
    ----------
    input_ids
        Per sequence (n,) int64 on the CPU with exactly one ``IMAGE_ID`` and any number of ``REFER_ID``.
    image_tokens
        (B, N, hidden).
    refer_ids
        Per sequence (m,) int64 on the CPU; required where ``REFER_ID`` occurs.
    embed
        Embeds ids that are on the image tokens' device.

    Raises
    ------
    InputError
        Placeholders and inputs do not match.
    """
    if len(input_ids) != image_tokens.shape[0]:
        raise InputError(
            f"{len(input_ids)} id sequences for {image_tokens.shape[0]} images: give one per image"
        )
    device = image_tokens.device

    def embed_on_device(some: Tensor) -> Tensor:
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
        rows.append(torch.cat(_embed_pieces(ids, image_tokens[index], refer, embed_on_device)))
    return Spliced(
        embeds=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        image_start=torch.stack(starts).to(device, non_blocking=True),
        places=places,
    )


def _embed_pieces(
    ids: Tensor, image: Tensor, refer: Tensor | None, embed: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    pieces, begin = [], 0
    for stop in (ids < 0).nonzero().flatten().tolist():
        pieces.append(embed(ids[begin:stop]))
        pieces.append(image if ids[stop] == IMAGE_ID or refer is None else embed(refer))
        begin = stop + 1
    return [*pieces, embed(ids[begin:])]


def splice_labels(labels: Sequence[Tensor], spliced: Spliced) -> Tensor:
    """Move labels to spliced positions: (B, L) int64, ``IGNORE_LABEL`` at placeholders and padding.

    Parameters
    ----------
    labels
        Per sequence (n,) int64 on the CPU, below 0 where a position does not count.
    spliced
        The sequences.
    """
    out = torch.full(spliced.embeds.shape[:2], IGNORE_LABEL, dtype=torch.long)
    for row, (label, place) in enumerate(zip(labels, spliced.places, strict=True)):
        counts = label >= 0
        out[row, place[counts]] = label[counts]
    return out.to(spliced.embeds.device, non_blocking=True)
