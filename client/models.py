"""What a table says about the model behind it."""

from __future__ import annotations

#: Name of the model that ships with segwatch to show the whole way, not to decide anything.
_DEMONSTRATION = "segearth-r2-tiny"


def is_demonstration_model(model: str | None) -> bool:
    """Tell whether a model, by its name and version, is the demonstration model or was trained from it."""
    return model is not None and model.startswith(_DEMONSTRATION)
