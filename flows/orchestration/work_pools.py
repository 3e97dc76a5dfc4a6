"""Work pools: find what their job templates let a run override.

A run can bring *job variables*, and the template of its pool defines their effect. Prefect's default template passes on
the command, the environment and the working directory of the run's process. With it, anyone who may create runs can
execute anything on the worker, with its secrets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

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
