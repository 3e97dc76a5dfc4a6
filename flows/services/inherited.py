"""What a service of a home gets of the environment of the shell that started it: of secrets only those it needs.

Servers get what names no secret. Workers run the operator's own segmenters and reach buckets and hubs, so they get all
but the secrets that are known to be others'.
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
#: Of others: databases, agents, and the Prefect server's own side.
_SECRET = re.compile(
    r"PG[A-Z]+|(.*_)?DATABASE_URL|SSH_(AUTH_SOCK|AGENT_PID)|(GITHUB|GH|GITLAB|PYPI|TWINE|NPM)_.*|"
    r"PREFECT_(SERVER_.*|API_KEY|API_AUTH_STRING|API_DATABASE_.*|CLIENT_CUSTOM_HEADERS|PROFILE)|"
    r"SEGWATCH_(STAC_)?DATABASE_URL"
)
_WITH_PASSWORD = re.compile(r"://[^/\s]*@")
_SECRETS_IN_GENERAL = re.compile(r".*(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|PRIVATE|_KEY).*", re.IGNORECASE)


def for_server(given: Mapping[str, str]) -> dict[str, str]:
    """For a service that runs nobody's code but segwatch's: no secret at all."""
    return {
        name: value for name, value in given.items() if _is_plain(name) and not _WITH_PASSWORD.search(value)
    }


def for_worker(given: Mapping[str, str], needs: Collection[str]) -> dict[str, str]:
    """For a worker, which of the secrets of segwatch's settings ``needs`` these."""
    return {name: value for name, value in given.items() if name.upper() in needs or not _is_secret(name)}


def _is_plain(name: str) -> bool:
    if name.upper() in SECRET_VARIABLES or _SECRET.fullmatch(name.upper()):
        return False
    if _SECRETS_IN_GENERAL.fullmatch(name):
        return False
    return name in _PLAIN or name.startswith(_PLAIN_PREFIXES)


def _is_secret(name: str) -> bool:
    return name.upper() in SECRET_VARIABLES or _SECRET.fullmatch(name.upper()) is not None
