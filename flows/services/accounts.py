"""Unprivileged accounts for the services, where segwatch is started as root.

Each service of a home folder gets a user id that no user of the machine has, from the range that systemd uses for
``DynamicUser=``. So a compromised service can read neither the secrets of other services nor those of the home. Both
workers share a group, because both write quicklooks below ``evidence``.

The files of a service are in ``accounts/NAME`` of the home: its ``HOME``, with what Prefect stores there.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: systemd's range of user ids for dynamic users: first id, ids per home folder, number of home folders.
_FIRST, _BLOCK, _BLOCKS = 61_184, 8, 540
#: Services in the order of their user ids within the home's block.
SERVICES = ("worker-cpu", "worker-gpu", "web", "prefect", "stac", "imagery", "receiver")
WORKERS = frozenset({"worker-cpu", "worker-gpu"})
#: GPU devices; the worker joins the groups that may use them.
_DEVICES = ("nvidia*", "dri/*", "kfd")
_TRIES = 20
#: As many as Linux follows.
_MAX_LINKS = 40
_PROBE_SECONDS = 60.0
_PROBE = """
import importlib.util, os, sys
import segwatch.flows
for how, path in ((one[0], one[1:]) for one in sys.argv[1:]):
    access = os.access(path, os.R_OK if how == "r" else os.W_OK) and (os.path.isfile(path) or os.access(path, os.X_OK))
    if not access:
        sys.exit(f"it cannot {'read' if how == 'r' else 'write to'} {path}")
segmenter = os.environ.get("SEGWATCH_SEGMENTER", "").partition(":")[0]
if segmenter and importlib.util.find_spec(segmenter) is None:
    sys.exit(f"it cannot import {segmenter}")
"""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Account that a service runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    folder: Path
    """Folder with the service's own files."""
    umask: int

    def environment(self) -> dict[str, str]:
        """Make the variables by which programs find the user, who is in no user database."""
        name = f"segwatch-{self.folder.name}"
        # Prefect's workers share files below the folder for temporary files
        return {"HOME": str(self.folder), "USER": name, "LOGNAME": name, "TMPDIR": str(self.folder / "tmp")}

    def take(self, path: Path) -> None:
        """Make this account the only one that can use a file or folder."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        path.chmod(0o700 if path.is_dir() else 0o600)


def make_account(home: Path, service: str) -> ServiceAccount | None:
    """Make the account of a service and its folder; None if this process is not root."""
    if os.geteuid() != 0:
        return None
    first = _find_first_uid(home)
    uid = first + SERVICES.index(service)
    gid = first + _BLOCK - 1 if service in WORKERS else uid
    groups = tuple(sorted(_list_device_groups())) if service == "worker-gpu" else ()
    folder = home / "accounts" / service
    folder.mkdir(parents=True, exist_ok=True)
    folder.parent.chmod(0o711)
    made = ServiceAccount(uid, gid, groups, folder, 0o007 if service in WORKERS else 0o077)
    (folder / "tmp").mkdir(exist_ok=True)
    for one in (folder, folder / "tmp"):
        made.take(one)
    return made


def find_obstacle(
    account: ServiceAccount,
    environment: Mapping[str, str],
    *,
    reads: Iterable[Path] = (),
    writes: Iterable[Path] = (),
) -> str | None:
    """Say why a service cannot run as this account; None if it can.

    Parameters
    ----------
    account
        The account.
    environment
        Environment of the service; a segmenter that it names must be importable.
    reads, writes
        Further files and folders that the service must read, and folders that it must write to.
    """
    needed = [f"r{path}" for path in reads] + [f"w{path}" for path in (account.folder, *writes)]
    # Python itself keeps the service, and may be out of reach where the virtual environment, a copy, is not
    for command in (
        [find_base_python(), "-I", "-S", "-c", ""],
        [sys.executable, "-P", "-c", _PROBE, *needed],
    ):
        try:
            done = subprocess.run(
                command,
                env={**environment, **account.environment()},
                cwd="/",
                user=account.uid,
                group=account.gid,
                extra_groups=list(account.groups),
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return None


def find_base_python() -> str:
    """Find Python itself, outside of a virtual environment, whose folders an account may be unable to enter."""
    return str(getattr(sys, "_base_executable", sys.executable))


def list_barring_folders(home: Path) -> list[Path]:
    """List the folders on the way to Python, segwatch and a home's accounts that no other user can enter.

    Links are followed one by one, because the folder that bars may be that of any of them.
    """
    import segwatch.flows

    paths = sysconfig.get_paths()
    needed = [
        Path(sys.executable),
        Path(find_base_python()),
        Path(paths["stdlib"]),
        Path(paths["purelib"]),
        home.absolute() / "accounts",
    ]
    needed += [Path(one) for one in segwatch.flows.__path__]
    passed = dict.fromkeys(folder for path in needed for folder in _list_passed_folders(path))
    return [folder for folder in passed if folder.is_dir() and not folder.stat().st_mode & stat.S_IXOTH]


def _list_passed_folders(path: Path) -> Iterator[Path]:
    """List the folders that opening a path passes through, those of its links included."""
    left = list(path.absolute().parts[1:])
    at, links = Path("/"), 0
    while left:
        yield at
        part = left.pop(0)
        if part == "..":
            at = at.parent
        elif (at / part).is_symlink() and links < _MAX_LINKS:
            links += 1
            target = (at / part).readlink()
            at = Path("/") if target.is_absolute() else at
            left = [*(one for one in target.parts if one != "/"), *left]
        else:
            at /= part


def share_evidence(home: Path, worker: ServiceAccount) -> None:
    """Let both workers write below ``evidence``, including files that root wrote there before."""
    top = home / "evidence"
    top.mkdir(exist_ok=True)
    if top.stat().st_gid == worker.gid and top.stat().st_mode & 0o2000:
        return
    for folder, _, files in os.walk(top):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            os.chown(path, -1, worker.gid, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(0o2770 if path.is_dir() else 0o660)


def _find_first_uid(home: Path) -> int:
    """Find the first user id of a home: always the same one, unless it belongs to a user of the machine."""
    for attempt in range(_TRIES):
        digest = hashlib.sha256(f"{home} {attempt}".encode()).digest()
        first = _FIRST + int.from_bytes(digest[:8], "big") % _BLOCKS * _BLOCK
        if not any(map(_is_user, range(first, first + _BLOCK))):
            return first
    return first


def _is_user(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _list_device_groups() -> Iterator[int]:
    for pattern in _DEVICES:
        for device in Path("/dev").glob(pattern):
            group = device.stat().st_gid
            if group != 0:
                yield group
