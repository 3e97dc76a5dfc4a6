"""Processes and listening sockets, as Linux shows them in /proc."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_STOP_SECONDS = 15.0
#: State "listening" in /proc/net/tcp.
_LISTEN = "0A"


def read_start_ticks(pid: int) -> int | None:
    """Read the start time of a running process in clock ticks since boot (field 22 of /proc/PID/stat).

    None if there is no such process, or if it is a zombie.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def stop_group(group: int) -> None:
    """Stop a process group: SIGTERM, and SIGKILL for what is still running after some seconds."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            _reap(group)
            if not _is_group_alive(group):
                return
            time.sleep(0.05)


def _reap(pid: int) -> None:
    """Collect the exit status of our own child, which would stay a zombie otherwise."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def is_listening(group: int, port: int) -> bool:
    """Whether a process of the group listens on the port."""
    sockets = list(_list_listeners(port))
    owner = _read_owner(group)
    if owner not in {None, os.geteuid()}:
        # the open files of other users' processes may be hidden, but a service account runs nothing else
        return any(uid == owner for _, uid in sockets)
    inodes = {f"socket:[{inode}]" for inode, _ in sockets}
    return any(
        _read_link(file) in inodes
        for folder in Path("/proc").glob("[0-9]*/fd")
        if _read_group(int(folder.parent.name)) == group
        for file in _list_open_files(folder)
    )


def _list_listeners(port: int) -> Iterator[tuple[str, int]]:
    """List inode and user id of every socket that listens on the port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = Path(table).read_text().splitlines()[1:] if Path(table).exists() else []
        for fields in (line.split() for line in lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9], int(fields[7])


def _read_owner(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return None


def _read_group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _list_open_files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return []


def _read_link(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:  # closed meanwhile
        return ""
