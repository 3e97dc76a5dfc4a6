"""Find the acquisition time of a file in its tags and its name. Pure."""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import PurePath

from segwatch.geo.clock import ITEM_TOLERANCE, is_too_far_ahead
from segwatch.geo.errors import BadDatePattern

#: No aerial photograph is older.
_FIRST_YEAR = 1900
#: Noon UTC is on the same solar day all around the earth.
_NOON = time(12, tzinfo=UTC)
_CENTURY = timedelta(days=36_525)
#: Tag of GDAL's imagery domain, and the formats that its drivers write.
_ACQUIRED = "ACQUISITIONDATETIME"
_WRITTEN, _WRITTEN_TAG = "TIFFTAG_DATETIME", "tag of the file's time"
_TAG_FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y:%m:%d %H:%M:%S",
    "%Y-%m-%d",
    "%Y:%m:%d",
)
#: Names of the months in English, German, French and Spanish, as names of files have them.
_MONTH_NAMES = (
    "jan january januar janvier enero", "feb february februar février fevrier febrero",
    "mar march märz maerz mrz mars marzo",
    "apr april avril abril", "may mai mayo", "jun june juni juin junio", "jul july juli juillet julio",
    "aug august août aout agosto", "sep sept september septembre septiembre", "oct okt october oktober octobre octubre",
    "nov november novembre noviembre", "dec dez december dezember décembre decembre diciembre",
)  # fmt: skip
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
_WORD = rf"(?<![^\W\d_])(?P<monthname>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})(?![^\W\d_])"
_MAXAR_MONTH = "|".join(name.upper() for name in calendar.month_abbr if name)
#: A quarter, half or week beside a year: the name means a part of the year.
_PART = r"(?:[QH][1-4]|[CK]?W ?\d\d?)"
_PART_OF_YEAR = re.compile(
    rf"(?:19|20)\d\d[-_. ]{{0,2}}{_PART}(?![^\W_])|(?<![^\W_]){_PART}[-_. ]{{0,2}}(?:19|20)\d\d",
    re.IGNORECASE,
)
_CLOCK = r"(?P<hour>[01]\d|2[0-3])[-_:h]?(?P<minute>[0-5]\d)(?:[-_:m]?(?P<second>[0-5]\d))?"
_YEAR, _MONTH, _DAY = r"(?P<year>(?:19|20)\d\d)", r"(?P<month>0[1-9]|1[0-2])", r"(?P<day>0[1-9]|[12]\d|3[01])"
_ALONE = r"(?<!\d)", r"(?!\d)"
_GAP, _DAY_OR_DIGIT = r"[-_. ]{0,2}", r"(?P<day>0?[1-9]|[12]\d|3[01])"
#: Says of a date that any name may hold where it was found.
_ANY_NAME = "name"
_YEAR_ALONE = "year in the name"

#: Names of producers, then plain dates; the first that gives a possible date wins.
_PATTERNS = tuple(
    (how, re.compile(pattern, re.IGNORECASE))
    for how, pattern in (
        # S2A_MSIL2A_20240501T100031_N0510_R122_T33UUP_20240501T134512, T33UUP_20240501T100031_B04_10m
        ("Sentinel-2 name", rf"(?:S2[ABC]_MSI\w{{3}}_|T\d\d[A-Z]{{3}}_){_YEAR}{_MONTH}{_DAY}T{_CLOCK}"),
        # S2A_33UUP_20240501_0_L2A
        ("Sentinel-2 name", rf"S2[ABC]_\d\d?[A-Z]{{3}}_{_YEAR}{_MONTH}{_DAY}"),
        # LC08_L1TP_013032_20180131_20180207_01_T1: acquired, then processed
        ("Landsat name", rf"L[COTEM]\d\d_L\w{{3}}_\d{{6}}_{_YEAR}{_MONTH}{_DAY}"),
        # LC80130322018031LGN00: year and day of the year
        ("Landsat name", rf"L[COTEM]\d\d{{6}}{_YEAR}(?P<yearday>[0-3]\d\d)[A-Z]{{3}}\d\d"),
        # 20240501_153045_12_24a1_3B_AnalyticMS
        ("Planet name", rf"(?<!\d){_YEAR}{_MONTH}{_DAY}_{_CLOCK}(?:_\d\d)?_\w{{4}}_(?:1A|1B|3A|3B)"),
        # 24MAY01153045-M1BS-012345678010_01_P001
        (
            "Maxar name",
            rf"(?<![A-Z0-9])(?P<year2>\d\d)(?P<monthname>{_MAXAR_MONTH}){_DAY}{_CLOCK}-[A-Z]\d[A-Z]{{2}}",
        ),
        # DJI_20240501153045_0001_V
        ("drone's name", rf"DJI_{_YEAR}{_MONTH}{_DAY}{_CLOCK}"),
        # m_4709922_ne_14_060_20170827_20171230: flown, then published
        ("NAIP name", rf"m_\d{{7}}_[ns][ew]_\d\d_\w+?_{_YEAR}{_MONTH}{_DAY}"),
        # HLS.S30.T33UUP.2024122T100031.v2.0 and MOD09GA.A2024122.h18v04: year and day of the year
        ("HLS name", rf"HLS\.\w\d\d\.T\w{{5}}\.{_YEAR}(?P<yearday>[0-3]\d\d)T{_CLOCK}"),
        ("MODIS name", rf"(?<![A-Z0-9])A{_YEAR}(?P<yearday>[0-3]\d\d){_ALONE[1]}"),
        # the year of a second date, as in 2024-05-01_2024-06-12, is no time
        (
            _ANY_NAME,
            rf"{_ALONE[0]}{_YEAR}([-_.]?){_MONTH}\2{_DAY}[T_ -]?(?!(?:19|20)\d\d[-_.]\d\d(?!\d)){_CLOCK}Z?{_ALONE[1]}",
        ),
        (_ANY_NAME, rf"{_ALONE[0]}{_YEAR}([-_.]?){_MONTH}\2{_DAY}{_ALONE[1]}"),
        # 2024-5-1
        (_ANY_NAME, rf"{_ALONE[0]}{_YEAR}([-_.])(?P<month>0?[1-9]|1[0-2])\2{_DAY_OR_DIGIT}{_ALONE[1]}"),
        # 01.05.2024 and 01-05-2024 only where the day cannot be a month
        (_ANY_NAME, rf"{_ALONE[0]}(?P<day>1[3-9]|2\d|3[01])[-_.]{_MONTH}[-_.]{_YEAR}{_ALONE[1]}"),
        # 1May2024, 1. Mai 2024, May 1st, 2024 and 2024-May-01
        (_ANY_NAME, rf"{_ALONE[0]}{_DAY_OR_DIGIT}{_GAP}{_WORD}{_GAP}{_YEAR}{_ALONE[1]}"),
        (_ANY_NAME, rf"{_WORD}{_GAP}{_DAY_OR_DIGIT}(?:st|nd|rd|th)?(?:, ?|[-_. ]{{1,2}}){_YEAR}{_ALONE[1]}"),
        (_ANY_NAME, rf"{_ALONE[0]}{_YEAR}{_GAP}{_WORD}{_GAP}{_DAY_OR_DIGIT}{_ALONE[1]}"),
        ("month in the name", rf"{_ALONE[0]}{_YEAR}[-_.]{_MONTH}(?![-_.]?\d)"),
        ("month in the name", rf"{_WORD}{_GAP}{_YEAR}(?![-_.]?\d)"),
        ("month in the name", rf"{_ALONE[0]}{_YEAR}{_GAP}{_WORD}(?![-_. ]?\d)"),
        # not of 01.05.2024, whose first two numbers could be either
        (_YEAR_ALONE, rf"(?<!\d)(?<!\d[-_.]){_YEAR}(?![-_.]?\d)"),
    )
)


@dataclass(frozen=True, slots=True)
class FoundDate:
    """When a file was acquired, as far as it says so."""

    start: datetime
    end: datetime
    """Equal to ``start`` unless only a month or year is known."""
    how: str
    """Where it was found."""

    @property
    def middle(self) -> datetime:
        """Middle of the period: the time under which it is observed."""
        return self.start + (self.end - self.start) / 2

    @property
    def text(self) -> str:
        """The date as people read it, as precise as it is known."""
        if self.start == self.end:
            return (
                f"{self.start:%Y-%m-%d}" if self.start.time() == time(12) else f"{self.start:%Y-%m-%d %H:%M}"
            )
        return f"{self.start:%Y-%m}" if self.start.month == self.end.month else f"{self.start:%Y}"


def find_date(
    path: PurePath, tags: Mapping[str, str], pattern: str | None, now: datetime
) -> FoundDate | None:
    """Find the acquisition time of a file; None where nothing says it.

    In this order: the user's pattern; GDAL's tag of the acquisition; the file's name and its folder's; the tag of the
    time at which the file was written.

    Parameters
    ----------
    path
        Path below the registered folder.
    tags
        Tags of the file and of its domain IMAGERY.
    pattern
        A date that holds for every file, or a pattern of :func:`parse_pattern`.
    now
        Later times are no acquisition.

    Raises
    ------
    BadDatePattern
        The user's pattern cannot be used.
    """
    if pattern is not None:
        return next(_possible(parse_pattern(path, pattern), now), None)
    acquired = _choose(_read_tag(tags, _ACQUIRED, "tag of the acquisition"), now)
    if acquired is not None:
        return acquired
    names = (path.stem, *(one.name for one in path.parents if one.name))
    found = [one for name in names if (one := _choose(_parse_name(name), now)) is not None]
    # a folder may tell the day of the year or month that the file tells
    exact = (one for one in found if one.start == one.end and found[0].start <= one.start <= found[0].end)
    return (
        next(exact, None) or next(iter(found), None) or _choose(_read_tag(tags, _WRITTEN, _WRITTEN_TAG), now)
    )


def _choose(given: Iterator[FoundDate], now: datetime) -> FoundDate | None:
    """Choose the first possible date of a tag or name, and say so if the name holds others."""
    found = list(_possible(given, now))
    if not found or found[0].how != _ANY_NAME:
        return found[0] if found else None
    days = {one.start.date() for one in found if one.how == _ANY_NAME}
    return replace(found[0], how=f"first of {len(days)} dates in the name") if len(days) > 1 else found[0]


def find_date_ahead(
    path: PurePath, tags: Mapping[str, str], pattern: str | None, now: datetime
) -> FoundDate | None:
    """Find the date that :func:`find_date` leaves out because it is yet to come; None where there is none."""
    return find_date(path, tags, pattern, now + _CENTURY)


def parse_pattern(path: PurePath, pattern: str) -> Iterator[FoundDate]:
    """Yield what a user's pattern says about a file.

    A pattern is a date (``2024-05-01``, or with a time ``2024-05-01T10:30:00``), for all files; or a format as of
    :meth:`datetime.datetime.strptime` that some part of the name of the file or of a folder of it fits (``%d%m%y``).

    Raises
    ------
    BadDatePattern
        It is neither.
    """
    if "%" not in pattern:
        try:
            yield _at(datetime.fromisoformat(pattern), "--date", has_time=len(pattern) > len("2024-05-01"))
        except (ValueError, OverflowError) as error:  # an offset may lead out of the calendar
            raise BadDatePattern(pattern) from error
        return
    try:
        search = re.compile(_to_expression(pattern))
    except KeyError as error:
        raise BadDatePattern(pattern) from error
    for name in (path.name, *(one.name for one in path.parents if one.name)):
        for match in search.finditer(name):
            try:
                found = datetime.strptime(match.group(1), pattern)
            except ValueError:
                continue
            yield _at(found, "--date", has_time="%H" in pattern)


#: Digits that each directive of a pattern stands for.
_DIRECTIVES = {
    "%Y": r"\d{4}", "%y": r"\d\d", "%m": r"\d\d", "%d": r"\d\d", "%H": r"\d\d", "%M": r"\d\d", "%S": r"\d\d",
    "%j": r"\d{3}", "%b": r"[A-Za-z]{3}", "%B": r"[A-Za-z]{3,9}", "%%": "%",
}  # fmt: skip


def _to_expression(pattern: str) -> str:
    parts = re.split(r"(%.)", pattern)
    found = [_DIRECTIVES[one] if one.startswith("%") else re.escape(one) for one in parts]
    return f"(?=({''.join(found)}))"  # overlapping matches: 20240501 must not hide in 1120240501


def _at(moment: datetime, how: str, *, has_time: bool = True) -> FoundDate:
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not has_time:
        moment = datetime.combine(moment.date(), _NOON)
    return FoundDate(moment, moment, how)


def _possible(found: Iterator[FoundDate], now: datetime) -> Iterator[FoundDate]:
    for one in found:
        if one.start.year >= _FIRST_YEAR and not is_too_far_ahead(one.start, now, ITEM_TOLERANCE):
            # the year of now is not over yet
            yield FoundDate(one.start, min(one.end, max(one.start, now)), one.how)


def _read_tag(tags: Mapping[str, str], name: str, how: str) -> Iterator[FoundDate]:
    given = tags.get(name, "").strip().removesuffix("Z")[:26]
    for form in _TAG_FORMATS:
        try:
            found = datetime.strptime(given, form)
        except ValueError:
            continue
        yield _at(found, how, has_time="%H" in form)
        return


def _parse_name(name: str) -> Iterator[FoundDate]:
    name = unicodedata.normalize("NFC", name)
    for how, pattern in _PATTERNS:
        if how == _YEAR_ALONE and _PART_OF_YEAR.search(name):
            continue
        for match in pattern.finditer(name):
            try:
                yield _build(match.groupdict(), how)
            except ValueError:
                continue


def _build(parts: Mapping[str, str | None], how: str) -> FoundDate:
    year = int(parts.get("year") or 2000 + int(parts.get("year2") or 0))
    clock = _NOON
    if parts.get("hour") is not None:
        clock = time(
            int(parts["hour"] or 0), int(parts["minute"] or 0), int(parts["second"] or 0), tzinfo=UTC
        )
    if parts.get("yearday"):
        day = date(year, 1, 1) + timedelta(days=int(parts["yearday"] or 0) - 1)
        if day.year != year:
            raise ValueError(f"{year} has no day {parts['yearday']}")
        return _at(datetime.combine(day, clock), how)
    month = (
        _MONTHS[str(parts["monthname"]).lower()] if parts.get("monthname") else int(parts.get("month") or 0)
    )
    if parts.get("day") is None:
        first, last = month or 1, month or 12
        end = datetime(year, last, calendar.monthrange(year, last)[1], 23, 59, 59, tzinfo=UTC)
        return FoundDate(datetime(year, first, 1, tzinfo=UTC), end, how)
    return _at(datetime.combine(date(year, month, int(parts["day"] or 0)), clock), how)
