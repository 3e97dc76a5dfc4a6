"""``segwatch watch``: list watches, test their alert rules, compare their segmenters; the rest is in lifecycle.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segwatch.flows.cli import lifecycle
from segwatch.flows.cli.console import (
    Json,
    WatchName,
    clear_errors,
    open_engine,
    print_json,
    print_table,
    say,
)
from segwatch.flows.cli.parsing import Command, From, To
from segwatch.geo.text.shares import format_share, format_share_percent

if TYPE_CHECKING:
    from segwatch.flows.alerting.backtest import RuleBacktest, Trade
    from segwatch.flows.report.comparison import Comparison, TargetComparison

app = typer.Typer(
    no_args_is_help=True,
    help="List, show, pause, resume, archive, clone and compare watches; test their alert rules.",
)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the watches: state, schedule, end, last search of the catalog, model, agreement over rewordings."""
    from segwatch.db import health, model_switches, rewordings

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        rows = health.read_watches(conn)
        models = {one.watch: one.version for one in model_switches.list_in_force(conn)}
        agreements = {one.watch: one.agreement for one in rewordings.list_newest(conn)}
    if as_json:
        print_json(
            [
                asdict(one)
                | {"switched_to": models.get(one.name), "rewording_agreement": agreements.get(one.name)}
                for one in rows
            ]
        )
        return
    cells = [
        (
            one.name,
            one.state,
            one.schedule or "by hand",
            one.ends_at,
            one.applied_at,
            one.attempted_at or "never",
            models.get(one.name, "as set"),
            agreements.get(one.name),
        )
        for one in rows
    ]
    print_table(("watch", "state", "schedule", "end", "applied", "last search", "model", "rewordings"), cells)


for _command in (lifecycle.show, lifecycle.pause, lifecycle.resume, lifecycle.archive):
    app.command()(_command)
app.command(cls=Command)(lifecycle.clone)


@app.command("test-rule")
def try_rules(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Watch file; it is not applied.")],
    rule: Annotated[str | None, typer.Option("--rule", metavar="RULE", help="Only this rule.")] = None,
    since: From = None,
    until: To = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of alerts shown per rule.")] = 20,
    as_json: Json = False,
) -> None:
    """Backtest the rules of a watch file: list the alerts that they would have raised on the watch's history.

    A second table compares how sure an alert may have to be: alerts, those refuted later, changes without an alert, and
    the median delay. Nothing is stored or sent.
    """
    from segwatch.flows.alerting.backtest import backtest_rules
    from segwatch.flows.config import watchfile
    from segwatch.flows.errors import ConfigError
    from segwatch.geo.text.spelling import find_nearest

    with clear_errors():
        if since is not None and until is not None and until <= since:
            raise ConfigError(f"--to {until} is not after --from {since}")
        watch = watchfile.load(file)
        if rule is not None and rule not in {one.name for one in watch.rules}:
            known = [one.name for one in watch.rules]
            near = find_nearest(rule, known)
            hint = f"did you mean {near}? " if near else ""
            raise ConfigError(
                f"--rule: {file} has no rule {rule!r}; {hint}it has: {', '.join(known) or 'none'}"
            )
        with open_engine() as engine, engine.connect() as conn:
            count, results = backtest_rules(conn, watch, since=since, until=until)
    results = [one for one in results if rule is None or one.rule.name == rule]
    if as_json:
        print_json([_to_json(one, count, limit) for one in results])
        return
    for one in results:
        _print_backtest(one, count, limit, further=one is not results[0])


def _to_json(one: RuleBacktest, changes: int, limit: int) -> dict[str, Any]:
    return {
        "rule": one.rule.name,
        "changes": changes,
        "alerts": len(one.alerts),
        "objects": one.objects,
        "busiest_day": one.busiest_day,
        "digests": one.digests,
        "not_judged": one.not_judged,
        "trade": [asdict(choice) for choice in one.trade],
        "first": [
            {
                "valid_at": change.valid_at,
                "kind": change.kind.value,
                "target": change.target,
                "track_id": change.track_id,
                "before_m2": change.before_m2,
                "after_m2": change.after_m2,
            }
            for change in one.alerts[:limit]
        ],
    }


def _print_backtest(one: RuleBacktest, changes: int, limit: int, *, further: bool) -> None:
    title = (
        f"{one.rule.name}: {len(one.alerts)} of {changes} changes alert, {one.objects} objects, "
        f"at most {one.busiest_day} on one day"
        + (f", in {one.digests} digest(s)" if one.digests is not None else "")
        + (f"; {one.not_judged} were recorded before segwatch judged" if one.not_judged else "")
        + (f"; the first {limit}" if len(one.alerts) > limit else "")
    )
    cells = [
        (
            change.valid_at,
            f"{change.target} {change.kind}",
            round(change.before_m2 / 1e4, 4),
            round(change.after_m2 / 1e4, 4),
            change.track_id,
        )
        for change in one.alerts[:limit]
    ]
    print_table(("acquired", "what", "ha before", "ha after", "object"), cells, title=title, further=further)
    head = ("status", "confidence", "alerts", "later refuted", "no alert", "observations later", "days later")
    title = f"{one.rule.name}: how sure an alert must be"
    print_table(head, map(_to_trade_cells, one.trade), title=title, further=True)


def _to_trade_cells(choice: Trade) -> tuple[Any, ...]:
    return (
        f"{choice.status}{' (this rule)' if choice.chosen else ''}",
        choice.confidence,
        choice.alerts,
        choice.refuted,
        choice.not_alerted,
        choice.delay_observations,
        None if choice.delay_days is None else round(choice.delay_days, 1),
    )


@app.command()
def compare(
    watch: WatchName,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the comparison as one HTML page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of places and of objects shown.")] = 10,
    as_json: Json = False,
) -> None:
    """Compare the main segmenter of a watch with its shadow segmenter, before a switch.

    Shows how many polygons each found, what a switch would lose, gain and change, the areas that both and that one of
    them found, and where they differ most, over the scenes that both were run on. The watch file names the shadow
    (`shadow: spectral`), or SEGWATCH_SHADOW for all.
    """
    from segwatch.db import watches
    from segwatch.flows.report.comparison import compare_segmenters, render_comparison

    with clear_errors():
        with open_engine() as engine, engine.connect() as conn:
            found = compare_segmenters(conn, watch, limit)
            of_watch = watches.load_current(conn, watch).watch.shadow
        if html is not None:
            html.write_text(render_comparison(found), encoding="utf-8")
    if as_json:
        print_json(found.to_json())
        return
    if found.shadow is None:
        say(f"{watch}: nothing was compared yet; {_advise_shadow(of_watch)}")
        return
    _print_comparison(found)
    if html is not None:
        say(f"written: {html}")


def _advise_shadow(of_watch: str | None) -> str:
    """Advise what to do for a comparison, given the shadow that the watch file names."""
    from segwatch.flows.config.settings import load_settings

    settings = load_settings()
    shadow = settings.choose_shadow(of_watch)
    if shadow is None:
        return "set shadow in the watch file, or SEGWATCH_SHADOW for the workers"
    if settings.is_main(shadow):
        return f"its shadow {shadow} {settings.how_to_differ}"
    return f"its shadow {shadow} predicts the scenes that workers predict from now on"


def _format_area_change(one: TargetComparison) -> str:
    """Format the area that a switch would add or take away, in hectares and percent."""
    from segwatch.flows.report.formats import format_hectares

    before = one.both_m2 + one.only_primary_m2
    sign = "-" if one.area_change_m2 < 0 else "+"
    size = f"{sign}{format_hectares(abs(one.area_change_m2))} ha"
    return size if before == 0 else f"{size} ({one.area_change_m2 / before:+.0%})"


def _print_comparison(found: Comparison) -> None:
    from segwatch.flows.report.formats import format_hectares

    totals = [
        (
            one.target,
            str(one.scenes),
            "" if one.iou is None else format_share(one.iou),
            *(format_hectares(size) for size in (one.both_m2, one.only_primary_m2, one.only_shadow_m2)),
            f"{one.primary_count} / {one.shadow_count}",
            f"{one.found_objects} of {one.objects}",
        )
        for one in found.targets
    ]
    head = (
        "target",
        "scenes",
        "IoU",
        "ha both",
        "ha main only",
        "ha shadow only",
        "polygons",
        "objects found by both",
    )
    print_table(head, totals, title=f"{found.watch}: {found.model} and, as its shadow, {found.shadow}")
    if found.share is not None:
        say(
            f"compared on {found.compared} of the {found.observed} scene(s) observed since it runs, on "
            f"{format_share_percent(found.share)} of them"
        )
    switch = [
        (
            one.target,
            *(str(count) for count in (one.lost_count, one.gained_count, one.changed_count)),
            _format_area_change(one),
        )
        for one in found.targets
    ]
    print_table(
        ("target", "polygons lost", "gained", "changed", "area"),
        switch,
        title="what a switch would change",
        further=True,
    )
    for reason, count in found.silent:
        say(f"not compared on {count} scene(s): {reason}")
    places = [
        (
            row["acquired_at"],
            row["target"],
            "main only" if row["found_by"] == "primary" else "shadow only",
            format_hectares(row["area_m2"]),
            f"{row['lon']:.5f} {row['lat']:.5f}",
        )
        for row in found.places
    ]
    print_table(
        ("acquired", "target", "found by", "hectares", "at"),
        places,
        title="where they differ most",
        further=True,
    )
