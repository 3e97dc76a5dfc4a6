"""Environment variables by which commands and services find the services of a home folder.

Variables that are set in the environment take precedence. Others are taken from the services that run in the home
folder (``SEGWATCH_HOME``, by default ``.segwatch`` in the current folder), with two exceptions. With
``SEGWATCH_DATABASE_URL`` set, nothing is taken from the home, because another system is meant. With an address or
credential of Prefect set, no variable of Prefect is taken, so that no server gets the credentials of another one.
Lists, such as ``SEGWATCH_ALLOWED_ADDRESSES``, are joined: what the environment allows stays allowed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from segwatch.flows.services import secrets
from segwatch.flows.services.supervisor import Supervisor

#: Variable with the address of each service.
_ADDRESSES = {"stac": "SEGWATCH_STAC_URL", "receiver": "SEGWATCH_RECEIVER_URL", "prefect": "PREFECT_API_URL"}
_NOTHING: Mapping[str, str] = MappingProxyType({})
_OTHER_SYSTEM = "SEGWATCH_DATABASE_URL"
_OTHER_PREFECT = frozenset(
    {"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE", "PREFECT_HOME"}
)
#: List-valued variables; the services of a home append their own entries.
_LISTS = frozenset({"SEGWATCH_ALLOWED_ADDRESSES", "SEGWATCH_IMAGERY_HOSTS", "PREFECT_LOGGING_EXTRA_LOGGERS"})
#: What Prefect does unless the operator prefers otherwise.
_PREFERENCES = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "DO_NOT_TRACK": "1",
}
#: File with the value of each secret variable.
SECRETS = {"SEGWATCH_WEBHOOK_SECRET": secrets.WEBHOOK, "PREFECT_API_AUTH_STRING": secrets.PREFECT}


def make_variables(
    home: Path, urls: Mapping[str, str], given: Mapping[str, str] = _NOTHING, *, sends: bool = True
) -> dict[str, str]:
    """Make the environment in which a process uses services of a home.

    Parameters
    ----------
    home
        Folder of the services.
    urls
        Base URLs of the services that the process may use, by name.
    given
        Variables that the operator set: their lists are extended, their other preferences kept.
    sends
        Whether the process sends messages and therefore gets the secret that they are signed with.
    """
    found = {name: urls[service] for service, name in _ADDRESSES.items() if service in urls}
    if "imagery" in urls:
        found["SEGWATCH_IMAGERY_HOSTS"] = _add_host(given.get("SEGWATCH_IMAGERY_HOSTS"), urls["imagery"])
    if "receiver" in urls:
        # of this machine, only the demo's receiver and what the operator allows
        allowed = given.get("SEGWATCH_ALLOWED_ADDRESSES")
        found["SEGWATCH_ALLOWED_ADDRESSES"] = _add_host(allowed, urls["receiver"])
    found |= {"SEGWATCH_HOME": str(home)}
    if sends:
        found |= {"SEGWATCH_WEBHOOK_SECRET": secrets.read_webhook_secret(home)}
    if "prefect" in urls:
        found |= {
            "PREFECT_API_URL": f"{urls['prefect']}/api",
            "PREFECT_API_AUTH_STRING": secrets.read_prefect_secret(home),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_LOGGING_EXTRA_LOGGERS": _add_logger(given.get("PREFECT_LOGGING_EXTRA_LOGGERS")),
            **{name: given.get(name) or value for name, value in _PREFERENCES.items()},
        }
    return found


def _add_host(given: str | None, url: str) -> str:
    """Add the host and port of a service to a JSON list of the operator's."""
    try:
        hosts = json.loads(given or "[]")
    except ValueError:
        hosts = None
    if not isinstance(hosts, list):
        return given or "[]"  # whoever reads the settings says what is wrong with it
    return json.dumps(list(dict.fromkeys([*hosts, urlsplit(url).netloc])))


def _add_logger(given: str | None) -> str:
    names = [name.strip() for name in (given or "").split(",") if name.strip()]
    return ",".join(dict.fromkeys([*names, "segwatch"]))


def find_running(home: Path, given: Mapping[str, str] = _NOTHING) -> dict[str, str]:
    """Make the environment of the services that run in a home; empty if none runs or if another user owns the home.

    ``given`` is as in :func:`make_variables`.
    """
    folder = home.absolute()
    if not (folder / "services").is_dir() or (folder / "services").stat().st_uid != os.geteuid():
        return {}  # another user's folder must not decide where credentials and messages are sent
    supervisor = Supervisor(folder)
    ports = {one.name: supervisor.remembered_port(one.name) for one in supervisor.running()}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items() if port is not None}
    return make_variables(folder, urls, given) if urls else {}


def find_missing(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Make the variables that the running services add to an environment; see the module for the precedence."""
    if given.get(_OTHER_SYSTEM):
        return {}
    found = find_running(home, given)
    if any(given.get(name) for name in _OTHER_PREFECT):
        found = {name: value for name, value in found.items() if not name.startswith("PREFECT_")}
    return {name: value for name, value in found.items() if name not in given or name in _LISTS}
