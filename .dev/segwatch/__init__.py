"""segwatch for people who work in Python: standing watch over satellite imagery, read as tables and rasters.

    import segwatch

    with segwatch.connect() as s:
        lakes = s.objects("prairie-lakes")

Importing this package loads nothing else: pandas, xarray and the rest are imported by the first call that needs them.
The only file of this package that is not in one of its rooms; see ADR 0023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segwatch.client import errors, plots
    from segwatch.client.cube_files import open_cube, write_cube
    from segwatch.client.session import Session, connect

    __version__: str

__all__ = ["Session", "__version__", "connect", "errors", "open_cube", "plots", "write_cube"]

#: Module that defines each public name; a module stands for itself.
_HOMES = {
    "Session": "segwatch.client.session",
    "connect": "segwatch.client.session",
    "errors": "segwatch.client",
    "open_cube": "segwatch.client.cube_files",
    "plots": "segwatch.client",
    "write_cube": "segwatch.client.cube_files",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    from importlib import import_module, metadata

    if name == "__version__":
        value: object = metadata.version("segwatch")
    elif name in {"errors", "plots"}:
        value = import_module(f"{_HOMES[name]}.{name}")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'segwatch' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
