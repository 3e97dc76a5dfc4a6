"""The operating system account of each service where segwatch is started as root: one of its own, that may do nothing.

Each service of a home has a user id that no user of the machine has, as systemd's ``DynamicUser=`` gives them, from the
same range. So a service that is taken over can neither read the other services' secrets nor the home's. Both workers
share a group, for both write pictures below ``evidence``.

What a service keeps lies in ``accounts/NAME`` of the home: its ``HOME``, and what Prefect stores there.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Range of systemd for users that exist while a service runs.
_FIRST, _BLOCK, _BLOCKS = 61_184, 8, 540
#: Services by their place in the home's block of user ids.
_PLACES = ("worker-cpu", "worker-gpu", "web", "prefect", "stac", "imagery", "receiver")
WORKERS = frozenset({"worker-cpu", "worker-gpu"})
#: Devices of GPUs, which a group may be needed for.
_DEVICES = ("nvidia*", "dri/*", "kfd")
_TRIES = 20
_PROBE_SECONDS = 60.0
_PROBE = """
import importlib.util, os, sys
import segwatch.flows
for how, path in ((one[0], one[1:]) for one in sys.argv[1:]):
    access = os.access(path, os.R_OK if how == "r" else os.W_OK) and (os.path.isfile(path) or os.access(path, os.X_OK))
    if not access:
        sys.exit(f"it may not {'read' if how == 'r' else 'write to'} {path}")
segmenter = os.environ.get("SEGWATCH_SEGMENTER", "").partition(":")[0]
if segmenter and importlib.util.find_spec(segmenter) is None:
    sys.exit(f"it finds no {segmenter}")
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Who a service runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    folder: Path
    """What is its own."""
    umask: int

    def environment(self) -> dict[str, str]:
        """Variables that programs look the user up by, who is in no list of users."""
        name = f"segwatch-{self.folder.name}"
        # Prefect keeps what workers share in one folder below that of temporary files
        return {"HOME": str(self.folder), "USER": name, "LOGNAME": name, "TMPDIR": str(self.folder / "tmp")}

    def own(self, path: Path) -> None:
        """Give it a file or folder, and nobody else."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        path.chmod(0o700 if path.is_dir() else 0o600)


def account(home: Path, service: str) -> Account | None:
    """The account of a service, with its folder; None where this process is not root and cannot choose."""
    if os.geteuid() != 0:
        return None
    block = _block(home)
    uid = block + _PLACES.index(service)
    gid = block + _BLOCK - 1 if service in WORKERS else uid
    groups = tuple(sorted(_device_groups())) if service == "worker-gpu" else ()
    folder = home / "accounts" / service
    folder.mkdir(parents=True, exist_ok=True)
    folder.parent.chmod(0o711)
    made = Account(uid, gid, groups, folder, 0o007 if service in WORKERS else 0o077)
    (folder / "tmp").mkdir(exist_ok=True)
    for one in (folder, folder / "tmp"):
        made.own(one)
    return made


def why_not(
    one: Account, environment: Mapping[str, str], *, reads: Iterable[Path] = (), writes: Iterable[Path] = ()
) -> str | None:
    """Why a service cannot run as this account; None where it can.

    Parameters
    ----------
    one
        The account.
    environment
        What the service inherits; a segmenter that it names must be found, too.
    reads, writes
        Further files and folders that it must read, and folders that it must write to.
    """
    needed = [f"r{path}" for path in reads] + [f"w{path}" for path in (one.folder, *writes)]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE, *needed],
            env={**environment, **one.environment()},
            cwd="/",
            user=one.uid,
            group=one.gid,
            extra_groups=list(one.groups),
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def share_evidence(home: Path, worker: Account) -> None:
    """Let both workers write below ``evidence``, also in what root wrote there before."""
    top = home / "evidence"
    top.mkdir(exist_ok=True)
    if top.stat().st_gid == worker.gid and top.stat().st_mode & 0o2000:
        return
    for folder, _, files in os.walk(top):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            os.chown(path, -1, worker.gid, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(0o2770 if path.is_dir() else 0o660)


def _block(home: Path) -> int:
    """First user id of a home; the same one whenever asked, unless a user of the machine gets it."""
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


def _device_groups() -> Iterator[int]:
    for pattern in _DEVICES:
        for device in Path("/dev").glob(pattern):
            group = device.stat().st_gid
            if group != 0:
                yield group
