"""Unchanged ground raises no confirmed change, however it is shown."""

from __future__ import annotations

import tempfile
from pathlib import Path

from segwatch.benchmarks.imagery_scenes import serve_folder
from segwatch.benchmarks.tracking_invariance import DarkWater, count_alarms, make_variants, observe

#: Displaced by 3 px, and by both axes; light; grid; area.
CHOSEN = ("displaced by 3, 0 px", "displaced by -0.7, -0.7 px", "5 % brighter", "haze", "grid half a pixel off",
          "area moved by 7, 13 px")  # fmt: skip
#: Repeated: a thin bridge opens and closes with the position of the pixels, and ponds come and go with the light.
ORDERS = {"displaced by -0.7, -0.7 px": ("lasting",), "haze": ("lasting",)}


def test_unchanged_ground_confirms_nothing() -> None:
    base, *variants = make_variants(quick=True)
    chosen = [one for one in variants if one.name in CHOSEN]
    assert len(chosen) == len(CHOSEN)
    with tempfile.TemporaryDirectory() as folder, serve_folder(Path(folder)) as url:
        unaltered = observe(folder, url, base, DarkWater())
        assert len(unaltered.detections) >= 54
        assert len(unaltered.chips) == 9
        for variant in chosen:
            scenes = {1.0: observe(folder, url, variant, DarkWater())}
            found = count_alarms(unaltered, scenes, variant)
            assert found.confirmed == 0, variant.name
            assert found.shift_error_px < 0.1, variant.name
            if variant.group == "area":
                assert found.provisional == 0, variant.name
            for order in ORDERS.get(variant.name, ()):
                repeated = count_alarms(unaltered, scenes, variant, order)
                assert repeated.provisional > 0, (variant.name, order)
                assert repeated.confirmed == 0, (variant.name, order)
