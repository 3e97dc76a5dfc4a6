"""The operating system account of the server, as PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segwatch.db.errors import ClusterError

_SERVER_USER = "postgres"
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The account that runs the server."""

    name: str
    uid: int
    gid: int
    switch: bool
    """Whether this process is root and must change to the account."""

    def run(self, argv: Sequence[str], *, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, from ``/``, as it may not be able to enter our folder."""
        return subprocess.run(
            argv,
            text=True,
            capture_output=True,
            check=False,
            timeout=timeout,
            cwd="/",
            env=_ENVIRONMENT,
            umask=0o077,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def own_folder(self, folder: Path) -> None:
        """Create a folder that only this account can enter."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.switch:
            os.chown(folder, self.uid, self.gid)
        folder.chmod(0o700)

    def can_use(self, folder: Path) -> bool:
        """Tell whether this account can enter and write the folder, parents included."""
        return self.run(["test", "-w", str(folder), "-a", "-x", str(folder)], timeout=10).returncode == 0


def find_server_account() -> ServerAccount:
    """Find the account: this user, or ``postgres`` if this is root.

    Raises
    ------
    ClusterError
        This is root, and there is no user ``postgres``.
    """
    uid = os.geteuid()
    if uid != 0:
        return ServerAccount(str(uid), uid, os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(_SERVER_USER)
    except KeyError as error:
        raise ClusterError(
            f"PostgreSQL does not run as root and there is no user {_SERVER_USER!r}; "
            f"make one with: useradd --system {_SERVER_USER}, or run segwatch as an ordinary user"
        ) from error
    return ServerAccount(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)
