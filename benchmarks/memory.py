"""Peak memory of this process, as Linux counts it."""

from __future__ import annotations

import math
import re
from pathlib import Path


def forget_peak() -> None:
    """Begin a new peak of resident memory."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def read_peak_mib() -> float:
    """Read the peak of resident memory since :func:`forget_peak`, MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) / 1024 if found else math.nan
