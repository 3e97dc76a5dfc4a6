"""Environment that a service inherits from the shell that started it: only the secrets that it needs.

Servers inherit no secrets at all. Workers run the operator's segmenters and reach buckets and model hubs, so they
inherit everything except secrets that are known to belong to other programs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from segwatch.flows.config.settings import SECRET_VARIABLES

_PLAIN = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "NO_PROXY",
        "PATH",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "no_proxy",
    }
)
_PLAIN_PREFIXES = ("LC_", "GDAL_", "CPL_", "PROJ_", "OMP_", "SEGWATCH_")
#: Secrets of other programs: databases, agents, package registries, and the Prefect server.
_FOREIGN_SECRET = re.compile(
    r"PG[A-Z]+|(.*_)?DATABASE_URL|SSH_(AUTH_SOCK|AGENT_PID)|(GITHUB|GH|GITLAB|PYPI|TWINE|NPM)_.*|"
    r"PREFECT_(SERVER_.*|API_KEY|API_AUTH_STRING|API_DATABASE_.*|CLIENT_CUSTOM_HEADERS|PROFILE)|"
    r"SEGWATCH_(STAC_)?DATABASE_URL"
)
_WITH_PASSWORD = re.compile(r"://[^/\s]*@")
_LOOKS_SECRET = re.compile(r".*(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|PRIVATE|_KEY).*", re.IGNORECASE)


def select_for_server(given: Mapping[str, str]) -> dict[str, str]:
    """Select the variables for a service that runs only segwatch's own code: no secrets."""
    return {
        name: value for name, value in given.items() if _is_plain(name) and not _WITH_PASSWORD.search(value)
    }


def select_for_worker(given: Mapping[str, str], needs: Collection[str]) -> dict[str, str]:
    """Select the variables for a worker that needs the secret settings named in ``needs``."""
    return {name: value for name, value in given.items() if name.upper() in needs or not _is_secret(name)}


def _is_plain(name: str) -> bool:
    if name.upper() in SECRET_VARIABLES or _FOREIGN_SECRET.fullmatch(name.upper()):
        return False
    if _LOOKS_SECRET.fullmatch(name):
        return False
    return name in _PLAIN or name.startswith(_PLAIN_PREFIXES)


def _is_secret(name: str) -> bool:
    return name.upper() in SECRET_VARIABLES or _FOREIGN_SECRET.fullmatch(name.upper()) is not None
