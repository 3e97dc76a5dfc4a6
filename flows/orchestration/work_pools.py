"""Work pools: what their templates let a run decide.

Whoever may create runs sends *job variables* with them, and a pool's template says what becomes of these. Prefect's own
template hands on the command, the environment and the working folder of the run's process: with that, creating a run is
running anything on the worker, with its secrets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: Entries of a job's configuration that describe it and run nothing.
_HARMLESS = frozenset({"labels", "name", "stream_output"})
#: Entries by which a run executes what it likes, in pools of whatever type.
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


def settable(kind: str, template: Mapping[str, Any]) -> list[str]:
    """Names of what a run in a pool of this type may decide and should not, sorted; empty where all is well.

    Parameters
    ----------
    kind
        Type of the pool.
    template
        Its base job template.
    """
    job = template.get("job_configuration") or {}
    decides = _HARMLESS.isdisjoint if kind == "process" else _EXECUTES.issuperset
    return sorted(name for name, value in job.items() if decides({name}) and _is_open(name, value))


def _is_open(name: str, value: object) -> bool:
    # a worker merges a run's `env` into one that the template gives, whether the template has such a variable or not
    if name == "env" and isinstance(value, Mapping):
        return True
    return "{{" in json.dumps(value)
