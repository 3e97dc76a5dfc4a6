"""Locate a model's folder and compute its version, without importing torch."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from segwatch.model import json_files
from segwatch.model.config import PUBLISHED_PROMPT
from segwatch.model.errors import CheckpointError
from segwatch.model.folder_check import CONFIG_FILE, read_config

#: The model shipped with the product.
SHIPPED_MODEL = Path(__file__).parent / "weights" / "tiny"


def resolve_model_folder(path_or_hub_id: str | None) -> Path:
    """Locate the folder of a checkpoint: the shipped model for None, else a folder or a hub id.

    A hub id that is not an existing folder is downloaded through ``huggingface_hub`` (safetensors,
    configuration and tokenizer files only).

    Raises
    ------
    CheckpointError
        There is no such folder, and the hub id cannot be downloaded.
    """
    if path_or_hub_id is None:
        return SHIPPED_MODEL
    local = Path(path_or_hub_id).expanduser()
    if local.exists():
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path_or_hub_id, allow_patterns=["*.safetensors", "*.json", "*.txt"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"model {path_or_hub_id}: there is no such folder, and no hub id of that name can be downloaded "
            f"({type(error).__name__}); give a folder with config.json, *.safetensors and tokenizer files"
        ) from error


def compute_version(directory: Path, default_name: str | None = None) -> str:
    """Compute the model version: ``<name>@<first 12 hex digits of a SHA-256>``.

    The digest is of all weight files, and of the prompt if that is not the published one: another prompt gives other
    masks, so it begins another series.

    Parameters
    ----------
    default_name
        Used where the configuration has no name; None = that of the folder.

    Raises
    ------
    CheckpointError
        The folder has no readable ``config.json`` or no ``*.safetensors``.
    """
    config = read_config(directory / CONFIG_FILE)
    name = json_files.read_name(config, default_name or directory.name)
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise CheckpointError(
            f"{directory}: no .safetensors file; download the weights in that format, or run segwatch model convert on "
            "a SegEarth-R2 checkpoint of other files"
        )
    stats = [file.stat() for file in files]
    stats_key = tuple(
        (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in stats
    )
    digest = _digest(tuple(files), stats_key)
    if (template := config.get("prompt", PUBLISHED_PROMPT)) != PUBLISHED_PROMPT:
        digest = hashlib.sha256(f"{digest}\n{template}".encode()).hexdigest()
    return f"{name}@{digest[:12]}"


@lru_cache(maxsize=8)
def _digest(files: tuple[Path, ...], stats_key: tuple[tuple[int, ...], ...]) -> str:
    """Compute SHA-256 over files, cached: official weights take many seconds to read.

    ``stats_key`` (device, inode, size and times of the files) is part of the cache key, so changed files are
    read again.
    """
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
