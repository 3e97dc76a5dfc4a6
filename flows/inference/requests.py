"""Requests to a segmenter for observations, and what its predictions on many tiles say together."""

from __future__ import annotations

from segwatch.db.ledger import LeasedObservation
from segwatch.geo.predictions import complete_instances, compute_logits
from segwatch.geo.stitch import Stitcher
from segwatch.geo.text.storable import to_storable
from segwatch.geo.tiling import Tile
from segwatch.geo.types.evidence import TargetPresence
from segwatch.geo.types.segmentation import Exemplar, SegmentationRequest, TilePrediction
from segwatch.geo.types.watch import Instruction

#: Probability from which a target counts as present in a tile.
_PRESENT = 0.5


def make_request(observation: LeasedObservation, exemplars: tuple[Exemplar, ...] = ()) -> SegmentationRequest:
    """Make the request for one observation."""
    watch = observation.watch
    return SegmentationRequest(
        watch.instruction.text, watch.instruction.targets, watch.profile.gsd_m, exemplars
    )


class Collector:
    """Collects the predictions of one observation, tile by tile."""

    def __init__(self, instruction: Instruction) -> None:
        self._instruction = instruction
        self._text = ""
        self._presence: dict[str, list[float]] = {}

    def add(self, stitcher: Stitcher, tile: Tile, prediction: TilePrediction) -> None:
        """Add the prediction on one tile; its masks are blended into ``stitcher``."""
        logits, instances = compute_logits(prediction), prediction.instances
        if instances is not None:
            instances = instances.copy()
            for numbers, mask in zip(instances, logits, strict=True):
                numbers[:] = complete_instances(numbers, mask > 0)
        stitcher.add(tile, logits, instances)
        self._text = self._text or prediction.text
        for index, presence in enumerate(prediction.presence or ()):
            self._presence.setdefault(self._instruction.label(index), []).append(presence)

    @property
    def text(self) -> str:
        """The first text that the segmenter generated, as it can be stored."""
        return str(to_storable(self._text))

    def list_presence(self) -> tuple[TargetPresence, ...]:
        """List the presence of each target over all tiles, by label."""
        return tuple(
            TargetPresence(target, max(found), len(found), sum(one >= _PRESENT for one in found))
            for target, found in sorted(self._presence.items())
        )
