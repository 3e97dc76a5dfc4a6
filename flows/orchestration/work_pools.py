"""Work pools: read those that segwatch deploys, and find what job templates let a run override.

A run can bring *job variables*, and the template of its pool defines their effect. Prefect's default template passes on
the command, the environment and the working directory of the run's process. With it, anyone who may create runs can
execute anything on the worker, with its secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect.client.schemas.actions import WorkPoolCreate

from segwatch.flows.errors import ConfigError


class PoolKind(StrEnum):
    """What the workers of the pools start for each run."""

    PROCESS = "process"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"


#: Job settings that only describe a run.
_HARMLESS = frozenset({"labels", "name", "stream_output"})
#: Job settings that let a run execute arbitrary code, in pools of any type.
_EXECUTES = frozenset(
    {
        "args",
        "command",
        "entrypoint",
        "env",
        "environment",
        "image",
        "job_manifest",
        "pip_packages",
        "privileged",
        "volumes",
        "working_dir",
    }
)


#: Images that deployments/images/Dockerfile builds and workers start.
_OURS = frozenset({"worker-cpu", "worker-gpu"})
#: The full name of an image: registry and path, its own name, tag or digest.
_IMAGE = re.compile(r"(?:.*/)?(?P<name>[^/:@]+)(?:[:@].*)?")


@dataclass(frozen=True)
class ImageSource:
    """Where containers get their images from."""

    place: str = "localhost/segwatch"
    """Registry and path in front of an image's name; by default the images built on this machine."""
    tag: str = field(default_factory=lambda: version("segwatch"))

    def name(self, image: str) -> str:
        """Return the full name of an image such as ``worker-cpu``, or of the same image elsewhere, with another tag."""
        bare = _IMAGE.sub(r"\g<name>", image, count=1)
        return f"{self.place.rstrip('/')}/{bare}:{self.tag}"


def read_pools(folder: Path, kind: PoolKind, images: ImageSource) -> list[WorkPoolCreate]:
    """Read the work pools of one kind, with the full names of their images.

    Parameters
    ----------
    folder
        Holds ``work_pools/KIND/NAME.json``, where each value of ``image`` is a bare name such as ``worker-cpu``.

    Raises
    ------
    ConfigError
        The folder has no pools of this kind.
    """
    files = sorted((folder / "work_pools" / kind).glob("*.json"))
    if not files:
        raise ConfigError(
            f"{folder / 'work_pools' / kind} holds no work pools; give another --folder or --pools"
        )
    return [
        WorkPoolCreate(**replace_images(json.loads(file.read_text(encoding="utf-8")), images))
        for file in files
    ]


def replace_images(value: Any, images: ImageSource) -> Any:
    """Copy a job template with every image of segwatch taken from there; other images stay."""
    if isinstance(value, list):
        return [replace_images(one, images) for one in value]
    if not isinstance(value, Mapping):
        return value
    return {key: _replace_image(key, one, images) for key, one in value.items()}


def _replace_image(key: str, value: Any, images: ImageSource) -> Any:
    if key != "image" or not isinstance(value, str):
        return replace_images(value, images)
    found = _IMAGE.fullmatch(value)
    return images.name(value) if found and found["name"] in _OURS else value


def find_unsafe_settings(kind: str, template: Mapping[str, Any]) -> list[str]:
    """List the unsafe job settings that a run in this pool can override, sorted.

    Parameters
    ----------
    kind
        Type of the pool, such as ``process``.
    template
        Its base job template.
    """
    job = template.get("job_configuration") or {}
    decides = _HARMLESS.isdisjoint if kind == "process" else _EXECUTES.issuperset
    return sorted(name for name, value in job.items() if decides({name}) and _is_open(name, value))


def _is_open(name: str, value: object) -> bool:
    # a worker merges a run's `env` into that of the template, even if the template has no such variable
    if name == "env" and isinstance(value, Mapping):
        return True
    return "{{" in json.dumps(value)
