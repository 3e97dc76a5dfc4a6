"""Run one background service, and start it again when it ends unexpectedly.

The supervisor runs this file as a program of its own, from standard input, without segwatch or any package, as the
account of the service. It leads the process group of the service: a signal to the group, as the supervisor sends it,
ends both for good.

A service that ends within some seconds of its first start is not started again, because its command is wrong. Later
ends are followed by a restart after a pause, which doubles up to a limit and is reset once the service has run for a
while. Each end is written to the service's log and, as JSON, to the file descriptor that the supervisor passes.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from types import FrameType

#: A service that runs for less than this after its first start cannot be started.
FIRST_SECONDS = 10.0
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1.0, 30.0
#: A service that has run for this long starts again after the shortest pause.
_STEADY_SECONDS = 120.0
_SET_PARENT_DEATH_SIGNAL = 1
_CANNOT_RUN = 127


class _Keeper:
    """Keeps one command running."""

    def __init__(self, report: int, argv: list[str]) -> None:
        self._report = report
        self._argv = argv
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._restarts = 0

    def run(self) -> int:
        """Run the command until it ends at its first start or this process is told to stop; return its status."""
        signal.signal(signal.SIGTERM, self._stop)
        pause = _MIN_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            status = self._run_once()
            lasted = time.monotonic() - started
            if self._stopping or (self._restarts == 0 and lasted < FIRST_SECONDS):
                return status if status >= 0 else 128 - status
            if lasted >= _STEADY_SECONDS:
                pause = _MIN_PAUSE_SECONDS
            self._restarts += 1
            self._record(status, lasted, pause)
            self._pause(pause)
            if self._stopping:
                return 0
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    def _run_once(self) -> int:
        try:
            self._child = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - there are no other threads
            )
        except OSError as error:
            _say(f"cannot run {self._argv[0]}: {error}")
            return _CANNOT_RUN
        if self._stopping:  # the signal came before there was a child
            self._child.terminate()
        return self._child.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.1)

    def _record(self, status: int, lasted: float, pause: float) -> None:
        """Write the end of the service to its log and to the supervisor's file."""
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        ended = datetime.now(UTC)
        _say(f"the service ended unexpectedly after {lasted:.0f} s ({how}); it starts again in {pause:.0f} s")
        entry = {
            "restarts": self._restarts,
            "ended_at": ended.isoformat(),
            "starts_at": (ended + timedelta(seconds=pause)).isoformat(),
            "how": how,
        }
        os.truncate(self._report, 0)
        os.pwrite(self._report, json.dumps(entry).encode(), 0)


def _die_with_parent() -> None:
    """Have the kernel kill the service if its keeper is killed; no restart would follow otherwise."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _say(text: str) -> None:
    sys.stdout.write(f"segwatch: {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(_Keeper(int(sys.argv[1]), sys.argv[2:]).run())
