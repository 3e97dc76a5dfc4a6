"""The packages that only rasters, plots and files need: those of the extra ``analysis``."""

from __future__ import annotations

from importlib.util import find_spec

from segwatch.client.errors import ExtraMissing


def require_analysis(what: str, *modules: str) -> None:
    """Check that modules of the extra ``analysis`` can be imported.

    Raises
    ------
    ExtraMissing
        One cannot; the message says what to install.
    """
    missing = [one for one in modules if find_spec(one) is None]
    if missing:
        raise ExtraMissing(
            f"{what} needs {', '.join(missing)}; install it with: pip install 'segwatch[analysis]'"
        )
