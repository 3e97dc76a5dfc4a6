"""Plots that people would draw anyway: area over time, before and after a change, objects by status.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart; status also shows in hatching or
in the marker. Functions return the axes, so that a caller may go on drawing. They need the extra ``analysis``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import geopandas
import pandas as pd
from pyproj import Geod

from segwatch.client import chips
from segwatch.client.errors import BadRequest
from segwatch.client.extras import require_analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from segwatch.client.session import Session

#: Okabe and Ito (2008), "Color Universal Design".
_BLUE, _VERMILLION, _GREEN, _ORANGE, _SKY, _PINK = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7",
)  # fmt: skip
_GREY, _DARK, _YELLOW = "#767676", "#222222", "#F0E442"
#: Colour, hatching, marker and words by status; "" = not judged.
_STATUS: Mapping[str, tuple[str, str, str, str]] = {
    "confirmed": (_BLUE, "", "o", "confirmed"),
    "provisional": (_ORANGE, "////", "^", "provisional"),
    "refuted": (_PINK, "xxxx", "X", "refuted"),
    "": (_GREY, "....", "s", "not judged (baseline)"),
}
_TARGETS = (_BLUE, _VERMILLION, _GREEN, _PINK, _ORANGE, _SKY)
_HECTARE = 1e4
_WGS84 = Geod(ellps="WGS84")
_NOTE_CHARACTERS = 135


def draw_area(table: pd.DataFrame, *, accuracy: pd.DataFrame | None = None, ax: Axes | None = None) -> Axes:
    """Draw area over time, with intervals.

    Parameters
    ----------
    table
        From ``s.history(object)``: the area of one object, look by look. The band is half a pixel along the outline,
        to both sides; the marker shows the status.
        From ``s.areas(watch)``: the mapped area of each target. The band reaches down to what observations confirmed; a
        ring marks scenes that showed only a part of the area.
    accuracy
        From ``s.accuracy(watch)``: adds the areas estimated from labels, with 95 % intervals.
    ax
        Axes to draw on; None = a new figure.
    """
    axes = _make_axes(ax)
    if "confirmed_m2" in table.columns:
        _draw_targets(axes, table)
        if accuracy is not None:
            _draw_estimates(axes, table, accuracy)
        title = f"Area over time, {table.attrs.get('watch', '')}"
    elif {"valid_from", "area_m2", "geom"} <= set(table.columns):
        _draw_object(axes, table)
        title = f"Area of one object ({', '.join(table.target.dropna().unique())})"
    else:
        raise BadRequest("draw_area() takes what s.history(object) or s.areas(watch) returned")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_ylabel("area (ha)")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    _format_dates(axes)
    if len(table):
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    else:
        axes.text(0.5, 0.5, "nothing observed yet", transform=axes.transAxes, ha="center", color=_DARK)
    _add_note(axes, table.attrs)
    return axes


def _draw_targets(axes: Axes, table: pd.DataFrame) -> None:
    rings = False
    for place, (target, ours) in enumerate(table.groupby("target")):
        colour = _TARGETS[place % len(_TARGETS)]
        times, area = ours.acquired_at.dt.tz_localize(None), ours.area_m2 / _HECTARE
        axes.fill_between(
            times, ours.confirmed_m2 / _HECTARE, area, color=colour, alpha=0.25, linewidth=0,
            label=f"{target}: not confirmed yet",
        )  # fmt: skip
        axes.plot(times, area, color=colour, marker="o", markersize=4, label=f"{target}: mapped")
        partly = ours.clear_share < 0.995
        axes.scatter(
            times[partly], area[partly], s=90, facecolors="none", edgecolors=_DARK, zorder=4,
            label="only a part was observed" if partly.any() and not rings else None,
        )  # fmt: skip
        rings = rings or bool(partly.any())


def _draw_estimates(axes: Axes, table: pd.DataFrame, accuracy: pd.DataFrame) -> None:
    """Add areas that were estimated from labels, at the last scene of the assessed map."""
    estimates = accuracy[(accuracy.measure == "area_m2").fillna(False)]
    for place, target in enumerate(sorted(table.target.dropna().unique())):
        for one in estimates[(estimates.target == target).fillna(False)].itertuples():
            mapped = table.acquired_at[(table.target == target) & (table.acquired_at <= one.drawn_at)]
            if mapped.empty:
                continue
            value, low, high = (number / _HECTARE for number in (one.value, one.low, one.high))
            axes.errorbar(
                [mapped.max().tz_localize(None)], [value], [[max(value - low, 0)], [max(high - value, 0)]],
                color=_TARGETS[place % len(_TARGETS)], marker="D", markersize=6, capsize=5, linewidth=1.5,
                markeredgecolor=_DARK, zorder=5, label=f"{target}: assessed, 95 % interval",
            )  # fmt: skip


def _draw_object(axes: Axes, table: geopandas.GeoDataFrame) -> None:
    alive = table.alive.fillna(False).to_numpy(bool)
    area = table.area_m2.where(alive, 0.0) / _HECTARE
    times = table.valid_from.dt.tz_localize(None)
    gsd_m = table.attrs.get("gsd_m")
    if gsd_m is not None:
        rim = table.geom.apply(_measure_outline).where(alive, 0.0) * float(gsd_m) / 2 / _HECTARE
        axes.fill_between(
            times, (area - rim).clip(lower=0), area + rim, color=_SKY, alpha=0.35, linewidth=0,
            label="half a pixel along the outline",
        )  # fmt: skip
    axes.plot(times, area, color=_DARK, linewidth=1.2)
    status = table.status.fillna("")
    for name, (colour, _, marker, words) in _STATUS.items():
        ours = alive & (status == name).to_numpy(bool)
        if ours.any():
            axes.scatter(times[ours], area[ours], color=colour, marker=marker, s=42, zorder=3, label=words)
    if not alive.all():
        axes.scatter(
            times[~alive], area[~alive], color=_DARK, marker="x", s=42, zorder=3, clip_on=False, label="gone"
        )


def _measure_outline(shape: Any) -> float:
    """Measure the length of an outline, holes included, in geodesic metres; 0 for no geometry."""
    return 0.0 if shape is None or shape.is_empty else float(_WGS84.geometry_length(shape.boundary))


def draw_map(objects: geopandas.GeoDataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a map of objects by status.

    Parameters
    ----------
    objects
        From ``s.objects(watch)``.
    ax
        Axes to draw on; None = a new figure.
    """
    if "status" not in objects.columns:
        raise BadRequest("draw_map() takes what s.objects(watch) returned")
    axes = _make_axes(ax)
    handles = list(_draw_statuses(axes, objects))
    axes.set_title(f"{objects.attrs.get('watch', '')}: {len(objects)} objects", loc="left", fontsize=11)
    axes.set_xlabel("longitude (°)")
    axes.set_ylabel("latitude (°)")
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=8)
    if handles:
        axes.legend(handles=handles, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    _add_note(axes, objects.attrs)
    return axes


def _draw_statuses(axes: Axes, objects: geopandas.GeoDataFrame) -> Iterator[Any]:
    from matplotlib.patches import Patch

    for status, (colour, hatch, _, words) in _STATUS.items():
        ours = objects[objects.status.fillna("") == status]
        if ours.empty:
            continue
        style: dict[str, Any] = {
            "facecolor": f"{colour}66",
            "edgecolor": colour,
            "hatch": hatch,
            "linewidth": 1.0,
        }
        ours.plot(ax=axes, **style)
        yield Patch(**style, label=f"{words} ({len(ours)})")


def draw_change(session: Session, change: Mapping[str, Any] | pd.Series[Any], *, axes: Any = None) -> Any:
    """Draw the ground of a change before and after it, as the model sees it, with the change's outline.

    Parameters
    ----------
    session
        Session that reads the imagery.
    change
        A row of ``s.changes(watch)`` or ``s.alerts(watch)``.
    axes
        Two axes to draw on; None = a new figure.

    Returns
    -------
    numpy.ndarray
        The two axes.
    """
    require_analysis("plots", "matplotlib")
    from matplotlib import pyplot

    if change.get("geom") is None:
        raise BadRequest("this change has no geometry; choose another row of s.changes(watch)")
    imagery = session.open_imagery(str(change["watch"]))
    found = chips.read_chips(
        imagery, change["geom"], str(change["scene_id"]), change["valid_at"].to_pydatetime()
    )
    if axes is None:
        _, axes = pyplot.subplots(1, 2, figsize=(8, 4.6), layout="constrained")
    for one, chip, words in zip(axes, (found.before, found.after), ("before", "after"), strict=True):
        _draw_chip(one, chip, found, words)
    axes[0].figure.suptitle(_describe_change(change), x=0.01, ha="left", fontsize=10)
    _add_note(axes[0], imagery.facts)
    return axes


def _draw_chip(axes: Axes, chip: chips.Chip | None, found: chips.ChangeChips, words: str) -> None:
    left, bottom, right, top = found.grid.boundingbox
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#eeeeee")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    if chip is None:
        axes.set_title(f"{words}: no scene", loc="left", fontsize=9)
        return
    axes.imshow(chip.rgba, extent=(left, right, bottom, top), interpolation="nearest")
    for ring in chips.list_outlines(found.shape):
        # bright on dark, so that it shows on any ground
        axes.plot(*ring.T, color=_DARK, linewidth=3.2, solid_joinstyle="round")
        axes.plot(*ring.T, color=_YELLOW, linewidth=1.4, solid_joinstyle="round")
    axes.set_title(f"{words}: {chip.acquired_at:%Y-%m-%d %H:%M} UTC", loc="left", fontsize=9)
    _add_scale(axes, (left, bottom, right, top))


def _add_scale(axes: Axes, bounds: tuple[float, float, float, float]) -> None:
    """Add a bar of a round length, about a quarter of the width."""
    left, bottom, right, top = bounds
    length = _round_down((right - left) / 4)
    x, y = left + (right - left) * 0.04, bottom + (top - bottom) * 0.05
    words = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    for colour, width in ((_DARK, 5.0), ("white", 2.2)):
        axes.plot([x, x + length], [y, y], color=colour, linewidth=width, solid_capstyle="butt")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(x, y + (top - bottom) * 0.03, words, fontsize=8, color=_DARK, bbox=box)


def _round_down(length: float) -> float:
    power: float = 10.0 ** int(f"{length:e}".partition("e")[2])
    return max(step * power for step in (1, 2, 5) if step * power <= length)


def _describe_change(change: Mapping[str, Any] | pd.Series[Any]) -> str:
    parts = [f"{change['target']} {change['kind']}, {change['valid_at']:%Y-%m-%d}"]
    before, after = (_to_hectares(change[name]) for name in ("before_m2", "after_m2"))
    parts.append(f"{before} → {after} ha")
    status = change.get("change_status", change["status"])
    if not pd.isna(change["confidence"]):
        parts.append(f"{status}, confidence {change['confidence']:.2f}")
    return "   ".join(parts)


def _to_hectares(square_metres: float) -> str:
    return "0" if pd.isna(square_metres) else f"{square_metres / _HECTARE:.2f}"


def _make_axes(ax: Axes | None) -> Axes:
    require_analysis("plots", "matplotlib")
    from matplotlib import pyplot

    if ax is not None:
        return ax
    _, made = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    return made


def _format_dates(axes: Axes) -> None:
    from matplotlib import dates

    made: Any = dates  # not typed
    locator = made.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(made.ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set_fontsize(8)
    axes.tick_params(labelsize=8)


def _add_note(axes: Axes, facts: Mapping[Any, Any]) -> None:
    """Add what the numbers are worth below the figure: model and accuracy."""
    if not facts.get("model"):
        return
    shown = " (demonstration model: not for decisions)" if facts.get("is_demonstration_model") else ""
    note = f"Model {facts['model']}{shown}; {facts['accuracy']}"
    axes.figure.supxlabel(
        "\n".join(textwrap.wrap(note, _NOTE_CHARACTERS)), fontsize=7, color=_GREY, x=0.01, ha="left"
    )
