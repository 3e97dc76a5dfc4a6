"""Which stage of the pipeline a thread is in, sampled from its stack while it works.

Sampling needs no hooks in the product and costs every stage the same. A sample stands for the time since the one
before, so code that holds the interpreter's lock delays the sample that counts it but loses none of its time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_EVERY_SECONDS = 0.005
ORCHESTRATION = "orchestration"
#: Part of a file's path, function (None = any) and stage; the innermost frame that matches decides.
_STAGES = (
    ("/flows/inference/strips.py", "__iter__", "read"),
    ("/flows/inference/outcomes.py", "save", "write"),
    ("/flows/inference/quicklooks.py", None, "write"),
    ("/flows/inference/segmenters.py", None, "segment"),
    ("/flows/inference/tiled.py", "predict_group", "segment"),
    ("/flows/pipeline/discovery.py", None, "discover"),
    ("/flows/alerting/courier.py", None, "deliver"),
    ("/flows/report/publish.py", None, "report"),
    ("/db/tracks.py", "publish", "write"),
    ("/db/late_observations.py", "publish", "write"),
    ("/flows/pipeline/tracking.py", None, "fold"),
)
STAGES = (*dict.fromkeys(stage for _, _, stage in _STAGES), ORCHESTRATION)


def find_stage(frame: FrameType | None) -> str:
    """Find the stage of a stack by its innermost frame that belongs to one."""
    while frame is not None:
        code = frame.f_code
        for file, function, stage in _STAGES:
            if file in code.co_filename and function in (None, code.co_name):
                return stage
        frame = frame.f_back
    return ORCHESTRATION


@contextmanager
def sampling_stages() -> Iterator[defaultdict[str, float]]:
    """Sample the calling thread while the block runs; yields seconds by stage, complete after the block."""
    took: defaultdict[str, float] = defaultdict(float)
    watched, done = threading.get_ident(), threading.Event()

    def sample() -> None:
        before = time.perf_counter()
        while not done.wait(_EVERY_SECONDS):
            stage = find_stage(sys._current_frames().get(watched))
            now = time.perf_counter()
            took[stage] += now - before
            before = now

    thread = threading.Thread(target=sample, name="stages", daemon=True)
    thread.start()
    try:
        yield took
    finally:
        done.set()
        thread.join()
