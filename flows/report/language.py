"""The languages of a briefing: catalogues of messages, and dates, numbers and areas as each language writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

LANGUAGES = ("en", "de", "fr", "es")
_HA, _KM2 = 1e4, 1e6
#: From here on areas are given in km².
_LARGE_M2 = 10 * _KM2
_COMPASS = 8


@dataclass(frozen=True, slots=True)
class Language:
    """One language; :meth:`say` fails for a message that its catalogue lacks, so that nothing falls back silently."""

    code: str
    messages: dict[str, Any]

    def say(self, key: str, **values: object) -> str:
        """Return a message with its values filled in."""
        text: str = self.messages[key]
        return text.format(**values)

    def has(self, key: str) -> bool:
        """Tell whether the catalogue has a message."""
        return key in self.messages

    def write_number(self, value: float, digits: int = 0) -> str:
        """Write a number with this many decimals."""
        marks = {",": self.messages["format.thousands"], ".": self.messages["format.decimal"]}
        return "".join(marks.get(one, one) for one in f"{value:,.{digits}f}").replace("-", "\u2212")

    def write_percent(self, share: float) -> str:
        """Write a share as a percentage; what is not quite nothing or everything is not rounded to it."""
        percent = 100 * share
        if 0 < percent < 1:
            return self.say("format.below", value=self._percent(1))
        if 99 < percent < 100:
            return self.say("format.above", value=self._percent(99))
        return self._percent(percent)

    def _percent(self, percent: float) -> str:
        return self.say("format.percent", value=self.write_number(percent))

    def write_area(self, m2: float, like: float | None = None) -> str:
        """Write an area in hectares or km²; ``like`` is an area (m²) whose unit and decimals are taken."""
        number, unit = self.split_area(m2, like)
        return f"{number}\u00a0{unit}"

    def split_area(self, m2: float, like: float | None = None) -> tuple[str, str]:
        """Write the number and the unit of an area."""
        size = abs(m2 if like is None else like)
        value, unit = (m2 / _KM2, "km²") if size >= _LARGE_M2 else (m2 / _HA, "ha")
        shown = size / (_KM2 if size >= _LARGE_M2 else _HA)
        return self.write_number(value, 2 if shown < 10 else 1 if shown < 1000 else 0), unit

    def write_day(self, at: datetime) -> str:
        """Write a date, UTC."""
        at = at.astimezone(UTC)
        key = "format.day.first" if at.day == 1 else "format.day"
        return self.say(key, day=at.day, month=self.messages["months"][at.month - 1], year=at.year)

    def write_moment(self, at: datetime) -> str:
        """Write a time in UTC to the minute."""
        at = at.astimezone(UTC)
        return self.say(
            "format.moment", day=self.write_day(at), hour=f"{at.hour:02d}", minute=f"{at.minute:02d}"
        )

    def write_list(self, words: list[str]) -> str:
        """Join words by commas, the last one by *and*."""
        if len(words) < 2:
            return "".join(words)
        return self.say("format.and", first=", ".join(words[:-1]), last=words[-1])

    def write_direction(self, degrees: float) -> str:
        """Name the compass point of a bearing, clockwise from north."""
        name: str = self.messages["directions"][round(degrees / (360 / _COMPASS)) % _COMPASS]
        return name

    def write_place(self, lon: float, lat: float) -> str:
        """Write a position."""
        north, south, east, west = self.messages["hemispheres"]
        return (
            f"{self.write_number(abs(lat), 4)}° {north if lat >= 0 else south}, "
            f"{self.write_number(abs(lon), 4)}° {east if lon >= 0 else west}"
        )


@lru_cache(maxsize=len(LANGUAGES))
def load_language(code: str) -> Language:
    """Load the catalogue of a language: one of :data:`LANGUAGES`."""
    text = (files("segwatch.flows.report") / "languages" / f"{code}.yaml").read_text(encoding="utf-8")
    return Language(code, yaml.safe_load(text))
