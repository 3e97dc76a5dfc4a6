"""Run a second segmenter on the same pixels, and compare its predictions with the main segmenter's.

The shadow's predictions are never published, and whatever goes wrong with it is recorded as the reason why there is no
comparison: a shadow cannot fail an observation.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from segwatch.db.errors import describe_error
from segwatch.db.ledger import LeasedObservation
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import SegmenterError
from segwatch.flows.inference import segmenters
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.inference.spectral import Opinion, SpectralSegmenter
from segwatch.flows.inference.strips import Strip
from segwatch.geo.agreement import compute_agreement
from segwatch.geo.text.printable import sanitize
from segwatch.geo.types.evidence import ShadowResult
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)


class ShadowPrediction(Protocol):
    """A segmenter's work on the strips of one scene."""

    def add(self, strip: Strip) -> None:
        """Add the next strip."""

    def finish(self) -> None:
        """Finish: no more strips come."""

    def ask(self, observation: LeasedObservation) -> Opinion:
        """Return what the segmenter says about one observation."""


class Shadow:
    """One shadow segmenter on one scene.

    Parameters
    ----------
    version
        Name and version of the segmenter.
    observations
        Ids of the observations that it is compared on.
    start
        Makes the prediction; may raise, as everything here.
    share
        Share of the watch's scenes that it is run on.
    """

    def __init__(
        self,
        version: str,
        observations: Collection[UUID],
        start: Callable[[], ShadowPrediction],
        share: float = 1.0,
    ) -> None:
        self._version = version
        self._share = share
        self._observations = frozenset(observations)
        self._prediction: ShadowPrediction | None = None
        self._reason: str | None = None
        self._attempt(lambda: setattr(self, "_prediction", start()))

    def has(self, observation: LeasedObservation) -> bool:
        """Whether it is compared on an observation."""
        return observation.id in self._observations

    def add(self, strip: Strip) -> None:
        """Add the next strip."""
        prediction = self._prediction
        if prediction is not None:
            self._attempt(lambda: prediction.add(strip))

    def finish(self) -> None:
        """Finish: no more strips come."""
        prediction = self._prediction
        if prediction is not None:
            self._attempt(prediction.finish)

    def compare(self, observation: LeasedObservation, primary: ObservationResult) -> ShadowResult:
        """Compare the main segmenter's result of an observation with the shadow's."""
        found: list[ShadowResult] = []
        prediction = self._prediction
        if prediction is not None:
            self._attempt(lambda: found.append(self._compare(prediction, observation, primary)))
        result = found[0] if found else self._explain(self._reason or "it did not run")
        return replace(result, share=self._share)

    def _compare(
        self, prediction: ShadowPrediction, observation: LeasedObservation, primary: ObservationResult
    ) -> ShadowResult:
        opinion = prediction.ask(observation)
        if opinion.result is None:
            return self._explain(opinion.explain_silence())
        watch = observation.watch
        named = [
            *watch.instruction.targets,
            *(one.target for one in (*primary.detections, *opinion.result.detections)),
        ]
        targets = [one for one in dict.fromkeys(named) if one not in opinion.silent]
        result = compute_agreement(primary, opinion.result, self._version, targets)
        reason = sanitize(opinion.explain_silence()) or None
        return replace(result, reason=reason)

    def _explain(self, reason: str) -> ShadowResult:
        """Return the result of a shadow that could not be compared."""
        return ShadowResult(self._version, sanitize(reason))

    def _attempt(self, work: Callable[[], object]) -> None:
        """Run a step; an error ends the shadow's work on this scene."""
        try:
            work()
        except Exception as error:  # whatever a second segmenter raises must not fail the observation
            self._prediction, self._reason = None, f"it failed: {describe_error(error)}"
            _log.warning("shadow segmenter %s failed: %s", self._version, self._reason, exc_info=True)


def is_spectral(segmenter: Segmenter | str) -> bool:
    """Whether a segmenter works on spectral indices instead of tiles."""
    return not isinstance(segmenter, str) and isinstance(segmenters.unwrap(segmenter), SpectralSegmenter)


@dataclass(frozen=True, slots=True)
class ShadowPlan:
    """A second segmenter for some observations of a scene."""

    name: str
    segmenter: Segmenter | str
    """The reason if it could not be loaded."""
    observations: frozenset[UUID]
    """Ids of the observations."""
    share: float = 1.0
    """Share of a watch's scenes that it is run on, 0..1."""

    def run(
        self,
        usable: Sequence[LeasedObservation],
        primary: Segmenter,
        start: Callable[[Segmenter, list[LeasedObservation]], ShadowPrediction],
        *,
        is_wide: bool,
    ) -> Shadow:
        """Start it on a scene.

        Parameters
        ----------
        start
            Starts a segmenter's work for some observations.
        is_wide
            Whether the grid is split into column spans, which are cut for the tiles of the main segmenter.
        """
        segmenter = self.segmenter
        chosen = [one for one in usable if one.id in self.observations]

        def begin() -> ShadowPrediction:
            if isinstance(segmenter, str):
                raise SegmenterError(segmenter)
            if is_wide and not is_spectral(segmenter) and segmenter.tile_px != primary.tile_px:
                raise SegmenterError(
                    f"the area is too wide for tiles of {segmenter.tile_px} px beside those of {primary.tile_px} px"
                )
            return start(segmenter, chosen)

        version = self.name if isinstance(segmenter, str) else segmenter.version
        return Shadow(version, [one.id for one in chosen], begin, self.share)


class Shadows:
    """The shadow segmenters of one worker, loaded when a watch first needs them."""

    def __init__(self, settings: FlowSettings) -> None:
        self._settings = settings
        self._loaded: dict[str, Segmenter | str] = {}

    def choose_name(self, watch: Watch) -> str | None:
        """Name of the shadow of a watch, or None."""
        return self._settings.choose_shadow(watch.shadow)

    def is_due(self, scene_id: UUID) -> bool:
        """Whether a scene is among those that shadows are run on.

        The choice follows from the id alone: a scene that is predicted again is compared again, every watch has about
        the same share, and a larger share has all scenes of a smaller one.
        """
        return (
            int.from_bytes(hashlib.sha256(scene_id.bytes).digest()[:8]) < self._settings.shadow_share * 2**64
        )

    def load(self, name: str) -> Segmenter | str:
        """Load a segmenter; the reason if it cannot be loaded, which is not tried again."""
        if name not in self._loaded:
            try:
                self._loaded[name] = segmenters.load_shadow(name, self._settings)
            except Exception as error:  # an operator's module may raise anything
                _log.warning("shadow segmenter %s cannot be loaded", name, exc_info=True)
                self._loaded[name] = f"it cannot be loaded: {describe_error(error)}"
        return self._loaded[name]
