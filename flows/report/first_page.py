"""The words of a briefing's first page in one language: HTML, PDF and PNG show the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from segwatch.flows.report.briefing import Briefing, Note, write_version
from segwatch.flows.report.exposure import Count
from segwatch.flows.report.figures import Interval
from segwatch.flows.report.language import Language
from segwatch.flows.report.maps import list_targets
from segwatch.flows.report.places import NEAR_KM
from segwatch.geo.text.printable import to_one_line
from segwatch.geo.text.storable import shorten

#: What is farther is not near.
_MAX_NEAR_KM = 50.0
#: A smaller share that was not seen is a sliver of overlays.
_MIN_UNSEEN_SHARE = 5e-4
#: Lengths of what other people wrote, so that it leaves room for the rest of the page.
_MAX_TITLE, _MAX_TARGETS, _MAX_REASON, _MAX_INSTRUCTION = 160, 80, 160, 300


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the three figures."""

    number: str
    unit: str
    label: str
    detail: str
    interval: str


@dataclass(frozen=True, slots=True)
class FirstPage:
    """Texts of the first page, none of them escaped."""

    product: str
    title: str
    lines: tuple[str, ...]
    """Event and place."""
    banner: str
    """What stands in plain sight about the map's accuracy; empty = it was assessed."""
    known: str
    tiles: tuple[Tile, ...]
    unseen: tuple[str, ...]
    exposure: tuple[tuple[str, str, str, str], ...]
    """Rows: what, affected, unaffected, not seen."""
    exposure_note: str
    maximum: tuple[str, ...]
    sources: tuple[str, ...]
    model: tuple[str, ...]
    contact: str
    live: str
    version: str
    notes: tuple[str, ...]


def write_first_page(briefing: Briefing, language: Language) -> FirstPage:
    """Write the first page."""
    return FirstPage(
        product=language.say("product"),
        title=write_title(briefing, language),
        lines=tuple(_write_lines(briefing, language)),
        banner=_write_banner(briefing, language),
        known=_write_known(briefing, language),
        tiles=tuple(_write_tiles(briefing, language)),
        unseen=tuple(_write_unseen(briefing, language)),
        exposure=tuple(_write_count(one, language) for one in briefing.counts),
        exposure_note=language.say("exposure.meaning" if briefing.counts else "exposure.none"),
        maximum=tuple(_write_maximum(briefing, language)),
        sources=tuple(_write_sources(briefing, language)),
        model=tuple(_write_model(briefing, language)),
        contact=briefing.contact or language.say("contact.none"),
        live=briefing.live_url or language.say("live.none"),
        version=language.say(
            "version", version=write_version(briefing.situation.written_at), software=version("segwatch"),
            when=language.write_moment(briefing.situation.written_at), watch=briefing.request.watch,
        ),
        notes=(*(write_note(one, language) for one in briefing.notes), language.say("preliminary")),
    )  # fmt: skip


def write_note(note: Note, language: Language) -> str:
    """Write a note; times in it are written as the language does."""
    key, values = note
    written = {
        name: language.write_moment(value) if isinstance(value, datetime)
        else language.say(f"exposure.{value}") if name == "what"
        else language.write_number(value) if isinstance(value, int)
        else to_one_line(str(value), _MAX_REASON)
        for name, value in values.items()
    }  # fmt: skip
    return language.say(key, **written)


def write_title(briefing: Briefing, language: Language) -> str:
    """Write the title: the given one, else event, place and time."""
    if briefing.request.title:
        return to_one_line(briefing.request.title, _MAX_TITLE)
    kind = briefing.happening.kind
    what = language.say(f"kind.{kind.value}") if kind else _capitalize(_list_targets(briefing, language))
    place = briefing.place
    where = (
        language.say("where.near", place=f"{place.name}, {place.country}")
        if place and place.distance_km <= _MAX_NEAR_KM
        else language.say("where.point", point=language.write_place(*briefing.centre))
    )
    key = "title" if briefing.period else "title.unobserved"
    return language.say(key, what=what, where=where, when=language.write_moment(briefing.moment))


def _write_lines(briefing: Briefing, language: Language) -> Iterator[str]:
    event, place = briefing.happening.event, briefing.place
    if event is None:
        yield language.say("event.none")
    else:
        line = language.say(
            "event.line", title=to_one_line(event.title, _MAX_TITLE).rstrip(".") or event.kind.value,
            when=language.write_moment(event.occurred_at), source=to_one_line(event.source, 40),
            id=to_one_line(event.external_id, 60),
        )  # fmt: skip
        level = f" {language.say('event.level', level=event.level.value)}" if event.level else ""
        cancelled = f" {language.say('event.cancelled')}" if event.cancelled else ""
        yield line + level + cancelled
    values = {
        "area": language.write_area(briefing.area_m2),
        "point": language.write_place(*briefing.centre),
    }
    if place is None:
        yield language.say("place.none", **values)
        return
    values |= {"place": f"{place.name}, {place.country}", "people": language.write_number(place.people)}
    if place.distance_km < NEAR_KM:
        yield language.say("place.here", **values)
        return
    direction = language.write_direction(place.bearing)
    digits = 0 if place.distance_km >= 10 else 1
    km = language.write_number(place.distance_km, digits)
    yield language.say("place.away", km=km, direction=direction, **values)


def _is_assessed(briefing: Briefing) -> bool:
    return any(one.labels for one in briefing.situation.accuracy.targets)


def _write_banner(briefing: Briefing, language: Language) -> str:
    assessed = _is_assessed(briefing)
    if briefing.situation.accuracy.is_demonstration:
        return language.say("banner.demonstration_assessed" if assessed else "banner.demonstration")
    return "" if assessed else language.say("banner.unassessed")


def _write_known(briefing: Briefing, language: Language) -> str:
    period, extent = briefing.period, briefing.figures.extent_m2
    if period is None or extent is None:
        return language.say("known.nothing", when=language.write_moment(briefing.moment))
    difference = extent - briefing.before_m2
    values = {
        "when": language.write_moment(period.after),
        "before": language.write_moment(period.before),
        "targets": _list_targets(briefing, language),
        "extent": language.write_area(extent),
        "difference": _write_difference(abs(difference), extent, language),
        "seen": language.write_percent(
            1.0 if briefing.unseen_share < _MIN_UNSEEN_SHARE else 1 - briefing.unseen_share
        ),
        "sure": _write_sure(briefing, language),
    }
    kind = (
        "first"
        if period.is_single
        else "more"
        if difference > 0.5
        else "less"
        if difference < -0.5
        else "same"
    )
    text = language.say(f"known.{kind}", **values)
    return _capitalize(text)


def _write_difference(difference: float, extent: float, language: Language) -> str:
    """Write a difference in the unit of the extent, unless little would be left of it."""
    return language.write_area(difference, like=extent if difference > extent / 100 else difference)


def _write_sure(briefing: Briefing, language: Language) -> str:
    accuracy, figures = briefing.situation.accuracy, briefing.figures
    targets = list_targets(briefing)
    main = accuracy.find(targets[0]) if targets else None
    demonstration = accuracy.is_demonstration
    if main is not None and main.users is not None:
        key = "sure.demonstration_assessed" if demonstration else "sure.assessed"
        words = language.say(
            key, users=language.write_percent(main.users.value), low=language.write_percent(main.users.low),
            high=language.write_percent(main.users.high),
        )  # fmt: skip
    else:
        words = language.say("sure.demonstration" if demonstration else "sure.unassessed")
    if not figures.gained:
        return words
    changes = language.say(
        "sure.changes", confirmed=language.write_number(figures.gained_confirmed),
        objects=language.write_number(figures.gained),
    )  # fmt: skip
    return language.say("format.and", first=words, last=changes)


def _write_tiles(briefing: Briefing, language: Language) -> Iterator[Tile]:
    figures, period = briefing.figures, briefing.period
    unknown = language.say("figure.unknown")
    targets = _list_targets(briefing, language)
    if period is None or figures.extent_m2 is None:
        for label in (language.say("figure.extent", targets=targets), language.say("figure.gained"),
                      _name_maximum(briefing, language)):  # fmt: skip
            yield Tile("–", "", label, unknown, language.say("interval.unassessed"))
        return
    number, unit = language.split_area(figures.extent_m2)
    yield Tile(
        number, unit, language.say("figure.extent", targets=targets),
        language.say("figure.extent.when", when=language.write_moment(period.after)),
        _write_area_interval(figures.extent, language),
    )  # fmt: skip
    yield _write_gains(briefing, language)
    if figures.people is not None:
        yield _write_people(figures.people, language)
    else:
        yield _write_maximum_tile(briefing, language)


def _write_gains(briefing: Briefing, language: Language) -> Tile:
    figures, period = briefing.figures, briefing.period
    if period is None or period.is_single:
        unknown = language.say("figure.unknown")
        return Tile("–", "", language.say("figure.gained"), unknown, language.say("interval.none"))
    detail = language.say(
        "figure.gained.since", before=language.write_moment(period.before),
        confirmed=language.write_number(figures.gained_confirmed),
    )  # fmt: skip
    gains = figures.gains
    interval = (
        language.say(gains.reason)
        if gains.low is None or gains.high is None
        else _write_gain_interval(
            language.write_number(gains.low, 1), language.write_number(gains.high, 1), language
        )
    )
    return Tile(language.write_number(figures.gained), "", language.say("figure.gained"), detail, interval)


def _write_gain_interval(low: str, high: str, language: Language) -> str:
    """Write the interval; where every change was looked at, there is one number."""
    if low == high:
        return language.say("interval.changes.all", number=low)
    return language.say("interval.changes", low=low, high=high)


def _write_people(people: Count, language: Language) -> Tile:
    detail = language.say(
        "figure.people.of", all=language.write_number(people.all), unseen=language.write_number(people.unseen)
    )
    number = language.write_number(people.affected)
    return Tile(number, "", language.say("figure.people"), detail, language.say("interval.none"))


def _write_maximum_tile(briefing: Briefing, language: Language) -> Tile:
    extent, label = briefing.extent, _name_maximum(briefing, language)
    none = language.say("interval.none" if _is_assessed(briefing) else "interval.unassessed")
    if extent is None or extent.ground_m2 is None:
        return Tile("–", "", label, language.say("figure.unknown"), none)
    number, unit = language.split_area(extent.ground_m2)
    when, most = extent.peak
    detail = language.say(
        "figure.maximum.when", extent=language.write_area(most), when=language.write_moment(when)
    )
    return Tile(number, unit, label, detail, none)


def _name_maximum(briefing: Briefing, language: Language) -> str:
    return language.say("figure.maximum" if briefing.happening.kind else "figure.maximum.watch")


def _write_area_interval(found: Interval, language: Language) -> str:
    if found.low is None or found.high is None or found.assessed_at is None or found.mapped_m2 is None:
        return language.say(found.reason)
    return language.say(
        "interval.area", low=language.write_area(found.low, like=found.high), high=language.write_area(found.high),
        day=language.write_day(found.assessed_at), mapped=language.write_area(found.mapped_m2),
    )  # fmt: skip


def _write_unseen(briefing: Briefing, language: Language) -> Iterator[str]:
    period = briefing.period
    if period is not None:
        share = briefing.unseen_share
        values = {
            "share": language.write_percent(share),
            "area": language.write_area(share * briefing.area_m2),
            "before": language.write_moment(period.before),
        }
        key = (
            "unseen.all"
            if share < _MIN_UNSEEN_SHARE
            else "unseen.one"
            if period.is_single
            else "unseen.share"
        )
        yield _capitalize(language.say(key, **values))
    counts = [language.say(f"state.{state}", n=n) for state, n in briefing.scene_states.items()]
    if counts and period is not None and not period.is_single:
        before = language.write_moment(period.before)
        yield language.say("unseen.counts", before=before, counts=language.write_list(counts))
    elif counts:
        yield language.say("unseen.counts.all", counts=language.write_list(counts))
    for reason, count in briefing.reasons:
        yield language.say("unseen.reason", count=count, reason=to_one_line(reason, _MAX_REASON))


def _write_count(count: Count, language: Language) -> tuple[str, str, str, str]:
    digits = 1 if count.what == "roads" else 0
    numbers = [language.write_number(one, digits) for one in (count.affected, count.unaffected, count.unseen)]
    return language.say(f"exposure.{count.what}"), numbers[0], numbers[1], numbers[2]


def _write_maximum(briefing: Briefing, language: Language) -> Iterator[str]:
    extent = briefing.extent
    if extent is None:
        return
    if extent.ground_m2 is None:
        yield language.say("maximum.failed", reason=to_one_line(extent.reason, _MAX_REASON))
    else:
        when, most = extent.peak
        yield language.say(
            "maximum.line", ground=language.write_area(extent.ground_m2), extent=language.write_area(most),
            first=language.write_moment(extent.moments[0][0]), last=language.write_moment(extent.moments[-1][0]),
            when=language.write_moment(when),
        )  # fmt: skip
    if len(extent.moments) < extent.of_all:
        yield language.say("maximum.cut", shown=len(extent.moments), all=extent.of_all)


def _write_sources(briefing: Briefing, language: Language) -> Iterator[str]:
    situation = briefing.situation
    items = sum(len(row["item_hrefs"]) for row in situation.observed)
    words = shorten(to_one_line(situation.attribution), _MAX_INSTRUCTION)
    yield language.say("sources.imagery", words=words.rstrip(".") or language.say("sources.unstated"))
    yield language.say("sources.items", count=items, scenes=len(situation.observed))
    for one in briefing.counts:
        name = to_one_line(one.source, 80)
        yield language.say("sources.layer", what=_capitalize(language.say(f"exposure.{one.what}")), name=name)
    yield language.say("sources.borders")
    if briefing.place is not None:
        yield language.say("sources.places")


def _write_model(briefing: Briefing, language: Language) -> Iterator[str]:
    situation = briefing.situation
    yield language.say(
        "model.line", model=to_one_line(situation.model or "", 80) or language.say("model.none"),
        instruction=to_one_line(situation.instruction, _MAX_INSTRUCTION).rstrip("."),
    )  # fmt: skip
    accuracy = situation.accuracy
    if not _is_assessed(briefing) or accuracy.drawn_at is None:
        yield language.say("accuracy.unassessed")
        return
    for one in accuracy.targets:
        target = to_one_line(one.target, 40)
        if one.users is None and one.producers is None:
            yield language.say("accuracy.few", target=target)
            continue
        shares = [
            language.say("accuracy.unknown") if share is None
            else language.say("accuracy.share", value=language.write_percent(share.value),
                              low=language.write_percent(share.low), high=language.write_percent(share.high))
            for share in (one.users, one.producers)
        ]  # fmt: skip
        yield language.say(
            "accuracy.line", target=target, users=shares[0], producers=shares[1], labels=one.labels,
            day=language.write_day(accuracy.drawn_at),
        )  # fmt: skip


def _list_targets(briefing: Briefing, language: Language) -> str:
    """List the targets in one line; what the watch asks for, before anything was found."""
    names = list_targets(briefing) or list(briefing.situation.targets) or [briefing.situation.instruction]
    return to_one_line(language.write_list([shorten(one, 40) for one in names]), _MAX_TARGETS)


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]
