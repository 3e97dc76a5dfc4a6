"""How a command or service of a home finds the home's services: the environment, and the home itself.

What is set in the environment comes first. What is not set there is taken from the services that run in the home folder
(``SEGWATCH_HOME``, unset: ``.segwatch`` in the current folder), with two exceptions: with ``SEGWATCH_DATABASE_URL``
nothing is, for that is another system than the home's; and with any of Prefect's addresses or credentials set, none
of Prefect's variables is, so that no server gets the credentials of another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from segwatch.flows.services import secrets
from segwatch.flows.services.supervisor import Supervisor

#: Variable of each service's address.
_ADDRESSES = {"stac": "SEGWATCH_STAC_URL", "receiver": "SEGWATCH_RECEIVER_URL", "prefect": "PREFECT_API_URL"}
_OTHER_SYSTEM = "SEGWATCH_DATABASE_URL"
_OTHER_PREFECT = frozenset(
    {"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE", "PREFECT_HOME"}
)
#: File of each variable that is secret.
SECRETS = {"SEGWATCH_WEBHOOK_SECRET": secrets.WEBHOOK, "PREFECT_API_AUTH_STRING": secrets.PREFECT}


def variables(home: Path, urls: Mapping[str, str], *, sends: bool = True) -> dict[str, str]:
    """Environment in which a process uses the services of a home, by the URLs of those that it may use.

    Without ``sends`` it does not get the secret that messages are signed with.
    """
    found = {name: urls[service] for service, name in _ADDRESSES.items() if service in urls}
    if "imagery" in urls:
        found["SEGWATCH_IMAGERY_HOSTS"] = json.dumps([urlsplit(urls["imagery"]).netloc])
    if "receiver" in urls:
        # the demo's own receiver, and nothing else of this machine
        found["SEGWATCH_ALLOWED_ADDRESSES"] = json.dumps([urlsplit(urls["receiver"]).netloc])
    found |= {"SEGWATCH_HOME": str(home)}
    if sends:
        found |= {"SEGWATCH_WEBHOOK_SECRET": secrets.webhook_secret(home)}
    if "prefect" in urls:
        found |= {
            "PREFECT_API_URL": f"{urls['prefect']}/api",
            "PREFECT_API_AUTH_STRING": secrets.prefect_secret(home),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_LOGGING_EXTRA_LOGGERS": "segwatch",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "1",
        }
    return found


def of_running(home: Path) -> dict[str, str]:
    """Environment of the services that run in a home; empty where none does, or where the home is another user's."""
    folder = home.absolute()
    if not (folder / "services").is_dir() or (folder / "services").stat().st_uid != os.geteuid():
        return {}  # a folder that somebody left here must not say where to send credentials and messages
    supervisor = Supervisor(folder)
    ports = {one.name: supervisor.remembered_port(one.name) for one in supervisor.running()}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items() if port is not None}
    return variables(folder, urls) if urls else {}


def lacking(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What the running services of a home add to an environment; see the module for what comes first."""
    if given.get(_OTHER_SYSTEM):
        return {}
    found = of_running(home)
    if any(given.get(name) for name in _OTHER_PREFECT):
        found = {name: value for name, value in found.items() if not name.startswith("PREFECT_")}
    return {name: value for name, value in found.items() if name not in given}
