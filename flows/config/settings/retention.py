"""Settings of retention: how long what no history needs is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from segwatch.db.retention import Retention
from segwatch.flows.config.settings.fields import Settings

_MIN_DAYS, _MAX_DAYS = 1, 36_500
#: A number of days; empty = for ever.
Days = Annotated[int | None, BeforeValidator(lambda given: None if given == "" else given)]


class RetentionSettings(Settings):
    """How long is kept what no history needs; the rest is kept for ever."""

    keep_messages_days: Days = Field(
        90,
        ge=_MIN_DAYS,
        le=_MAX_DAYS,
        description="days that the content of sent messages is kept which no later message continues; empty = for ever",
    )
    keep_superseded_days: Days = Field(
        30,
        ge=_MIN_DAYS,
        le=_MAX_DAYS,
        description=(
            "days that chips and spectral indices of an observation are kept after a later version of its scene "
            "replaced it; empty = for ever"
        ),
    )
    keep_quicklooks_days: Days = Field(
        None,
        ge=_MIN_DAYS,
        le=_MAX_DAYS,
        description="days that quicklooks of observations without alert are kept; unset = for ever",
        examples=["730"],
    )

    def make_retention(self) -> Retention:
        """Make the times that the ledger needs."""
        return Retention(
            _days(self.keep_messages_days), _days(self.keep_superseded_days), _days(self.keep_quicklooks_days)
        )


def _days(count: int | None) -> timedelta | None:
    return None if count is None else timedelta(days=count)
