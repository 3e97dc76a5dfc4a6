"""Which model a folder holds, told without torch: its name and a digest of its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

#: The model shipped with the product.
TINY = Path(__file__).parent / "weights" / "tiny"


def resolve(path_or_hub_id: str | None) -> Path:
    """Local folder of a checkpoint: the shipped tiny model for None, else a folder or a hub id.

    A hub id that is not an existing folder is downloaded through ``huggingface_hub`` (safetensors,
    configuration and tokenizer files only).
    """
    if path_or_hub_id is None:
        return TINY
    local = Path(path_or_hub_id).expanduser()
    if local.exists():
        return local
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(path_or_hub_id, allow_patterns=["*.safetensors", "*.json", "*.txt"]))


def version(directory: Path) -> str:
    """``<name>@<first 12 hex digits of the SHA-256 over all weight files>``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no ``config.json`` or no ``*.safetensors``.
    """
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{directory}: no .safetensors file; convert the checkpoint first")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"{config.get('name', directory.name)}@{digest.hexdigest()[:12]}"
