"""Plots show what they are asked for, in colours that everybody can tell apart, and say what it is worth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes

import segwatch
from segwatch import plots
from tests.support.shown_series import WATCH

_OKABE_ITO = {
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#e69f00",
    "#56b4e9",
    "#cc79a7",
    "#767676",
    "#222222",
    "#f0e442",
}


@pytest.fixture(autouse=True)
def _without_a_screen() -> Iterator[None]:
    mpl.use("Agg")
    yield
    pyplot.close("all")


def _legend(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [one.get_text() for one in legend.get_texts()]


def _is_drawn(axes: Axes, file: Path) -> bool:
    """Write the picture; every colour of a line is one of the palette."""
    axes.figure.savefig(file)  # type: ignore[union-attr]
    colours = {mpl.colors.to_hex(line.get_color()) for line in axes.lines}
    assert colours <= _OKABE_ITO | {"#ffffff"}
    return file.stat().st_size > 5000


def test_area_over_time(session: segwatch.Session, tmp_path: Path) -> None:
    axes = plots.draw_area(session.areas(WATCH), accuracy=session.accuracy(WATCH))
    assert _legend(axes) == [
        "water: not confirmed yet", "water: mapped", "only a part was observed", "water: assessed, 95 % interval",
    ]  # fmt: skip
    (mapped,) = [line for line in axes.lines if line.get_label() == "water: mapped"]
    assert np.array_equal(np.asarray(mapped.get_ydata()), session.areas(WATCH).area_m2 / 1e4)
    assert axes.get_ylim()[0] == 0
    assert "Model colour@1; water: assessed on " in axes.figure.get_supxlabel()
    assert _is_drawn(axes, tmp_path / "area.png")


def test_area_of_an_object(session: segwatch.Session, tmp_path: Path) -> None:
    objects = session.objects(WATCH)
    history = session.history(objects[objects.last_change == "appeared"].iloc[0])
    axes = plots.draw_area(history)
    assert _legend(axes) == ["half a pixel along the outline", "confirmed", "provisional"]
    (band,) = [one for one in axes.collections if "outline" in str(one.get_label())]
    low, high = band.get_datalim(axes.transData).intervaly
    area = history.area_m2.iloc[0]
    assert low < area / 1e4 < high
    # a lake of this size has an outline of about 1.6 km: half a pixel along it is less than a tenth of its area
    assert (high - low) * 1e4 / area < 0.2
    assert _is_drawn(axes, tmp_path / "object.png")
    with pytest.raises(segwatch.errors.BadRequest, match=r"s\.history"):
        plots.draw_area(objects)


def test_a_map_by_status(session: segwatch.Session, tmp_path: Path) -> None:
    objects = session.objects(WATCH)
    objects.loc[0, "status"] = "provisional"
    axes = plots.draw_map(objects)
    assert _legend(axes) == ["confirmed (2)", "provisional (1)"]
    assert _is_drawn(axes, tmp_path / "map.png")
    empty = plots.draw_map(objects.iloc[:0])
    assert empty.get_legend() is None


def test_before_and_after(session: segwatch.Session, web_session: segwatch.Session, tmp_path: Path) -> None:
    changes = session.changes(WATCH)
    grown = changes[changes.kind == "grew"].iloc[0]
    for one in (session, web_session):
        before, after = plots.draw_change(one, grown)
        assert before.get_title(loc="left") == "before: 2024-05-21 10:00 UTC"
        assert after.get_title(loc="left") == "after: 2024-05-31 10:00 UTC"
        first, last = (axes.images[0].get_array() for axes in (before, after))
        assert first is not None
        assert last is not None
        blue = [int((picture[..., 2] > picture[..., 0] + 40).sum()) for picture in (first, last)]
        assert blue[1] > 1.5 * blue[0], "there is more water after it"
        assert _is_drawn(before, tmp_path / "change.png")
    first_look = plots.draw_change(session, changes[changes.baseline].iloc[0])
    assert first_look[0].get_title(loc="left") == "before: no scene"
