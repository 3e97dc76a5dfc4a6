"""Time of a thread is attributed to the stage of the innermost frame that belongs to one."""

from __future__ import annotations

import time
from types import FrameType
from typing import Any, cast

from segwatch.benchmarks.stages import ORCHESTRATION, find_stage, sampling_stages


def _stack(*calls: tuple[str, str]) -> FrameType:
    """Frames of (file, function), the outermost first."""

    class Made:
        def __init__(self, file: str, function: str, back: Any) -> None:
            self.f_code = type("Code", (), {"co_filename": file, "co_name": function})
            self.f_back = back

    made: Any = None
    for file, function in calls:
        made = Made(file, function, made)
    return cast("FrameType", made)


def test_waiting_for_pixels_inside_a_prediction_is_reading() -> None:
    predicting = ("/x/flows/inference/tiled.py", "predict_group")
    assert find_stage(_stack(predicting, ("/x/torch/nn.py", "forward"))) == "segment"
    assert find_stage(_stack(predicting, ("/x/flows/inference/strips.py", "__iter__"))) == "read"
    folding = ("/x/flows/pipeline/tracking.py", "track_ready")
    assert find_stage(_stack(folding, ("/x/db/tracks.py", "publish"), ("/x/psycopg.py", "wait"))) == "write"
    assert find_stage(_stack(("/x/flows/inference/drain.py", "_lease_next"))) == ORCHESTRATION
    assert find_stage(None) == ORCHESTRATION


def test_no_time_is_lost() -> None:
    begun = time.perf_counter()
    with sampling_stages() as took:
        time.sleep(0.2)
    assert 0.1 < sum(took.values()) <= time.perf_counter() - begun
    assert set(took) == {ORCHESTRATION}
