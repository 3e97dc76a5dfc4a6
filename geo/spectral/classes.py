"""What spectral indices can tell: water, burned ground and vegetation, found by the names that targets have here.

The names are those that the shipped model is trained on (``TARGET_NOUNS`` in
:mod:`segwatch.model.train.instructions`) and those of the playbooks. A name that says more than the index can see
has no class: a flooded road is no water, and forest is more than vegetation.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from segwatch.geo.types.watch import Instruction


@dataclass(frozen=True, slots=True)
class SpectralClass:
    """One kind of ground, and the index that shows it."""

    name: str
    indices: tuple[str, ...]
    """Indices that show it, the best first."""
    above: bool
    """Whether its values lie above the threshold."""
    plausible: tuple[float, float]
    """Where a threshold may lie; tuned on the labelled scenes that docs/how-to/second-opinion.md names."""
    undecided: tuple[float, float]
    """Values that ground with and without it may have; beyond them the index alone tells."""
    names: frozenset[str]

    def choose_index(self, available: Collection[str]) -> str | None:
        """Choose the best index among those that a source has bands for."""
        return next((one for one in self.indices if one in available), None)


def _normalize(name: str) -> str:
    """Lower case, without articles and plural endings."""
    words = re.findall(r"[a-z]+", name.lower())
    return " ".join(re.sub(r"s$", "", word) for word in words if word not in {"the", "all", "a", "an"})


def _names(*names: str) -> frozenset[str]:
    return frozenset(_normalize(one) for one in names)


CLASSES = (
    SpectralClass(
        "water",
        ("mndwi", "ndwi"),
        True,
        (-0.3, 0.5),
        (-0.2, 0.2),
        _names(
            "water", "water bodies", "water body", "open water", "surface water", "lake", "lakes and ponds", "pond",
            "river", "flooded area", "flood water", "flood", "inundated land", "inundated area",
        ),
    ),
    SpectralClass(
        "burned",
        ("nbr",),
        False,
        (-0.4, 0.1),
        (-0.4, 0.2),
        _names(
            "burned", "burnt", "burned area", "burnt area", "burned ground", "burnt ground", "burned land",
            "burnt land", "burn scar", "fire damage", "burned forest", "burned vegetation",
        ),
    ),
    SpectralClass(
        "vegetation",
        ("ndvi",),
        True,
        (0.1, 0.7),
        (0.1, 0.5),
        _names("vegetation", "green vegetation", "green area", "plants", "plant cover", "greenery"),
    ),
)  # fmt: skip
#: Ground that always has vegetation; an index tells where it cannot be, not where it is.
_VEGETATED = _names("forest", "trees", "woodland", "tree cover", "wooded area", "rainforest")
_ORDER = re.compile(
    r"^(please )?(can you )?(segment|outline|find|map|show|mark|detect|delineate) ", re.IGNORECASE
)


def find_class(target: str) -> SpectralClass | None:
    """Find the class of a target by its label; None where no index shows it."""
    name = _normalize(target)
    return next((one for one in CLASSES if name in one.names), None)


def is_vegetated(target: str) -> bool:
    """Whether the target has vegetation without being all vegetation, such as forest."""
    return _normalize(target) in _VEGETATED


def list_classes(instruction: Instruction) -> list[tuple[str, SpectralClass | None]]:
    """List the targets of an instruction with their classes.

    An instruction without target labels asks for what its text names, as in "segment the water".
    """
    if instruction.targets:
        return [(target, find_class(target)) for target in instruction.targets]
    return [(instruction.label(0), find_class(_ORDER.sub("", instruction.text.strip().rstrip("."))))]
