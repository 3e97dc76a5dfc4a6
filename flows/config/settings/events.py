"""Settings of event feeds and disaster runs."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from segwatch.flows.config.settings.fields import HOUR_SECONDS, Folder, JsonList, Settings


class EventSettings(Settings):
    """Which event feeds are polled, and what is done about their events."""

    feeds: JsonList = Field(
        (
            "https://www.gdacs.org/xml/rss.xml",
            "https://earthquake.usgs.gov/earthquakes/feed/v1.0/summary/4.5_day.geojson",
            "https://eonet.gsfc.nasa.gov/api/v3/events/geojson?status=open",
        ),
        description="URLs of event feeds: GDACS, USGS, EONET, GeoRSS or CAP 1.2; a JSON list",
        examples=['["https://www.gdacs.org/xml/rss.xml"]'],
    )
    feed_timeout_seconds: float = Field(
        30.0, gt=0, le=HOUR_SECONDS, description="timeout of one feed request as a whole"
    )
    source_timeout_seconds: float = Field(
        60.0,
        gt=0,
        le=HOUR_SECONDS,
        description="timeout of one catalog search while a disaster run selects its source",
    )
    playbooks: Folder | None = Field(
        None,
        description="folder of playbooks; unset = the playbooks that ship with segwatch",
        examples=["/etc/segwatch/playbooks"],
    )

    @field_validator("feeds")
    @classmethod
    def _check_urls(cls, feeds: tuple[str, ...]) -> tuple[str, ...]:
        for feed in feeds:
            parts = urlsplit(feed)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(f"{feed!r} is not the URL of a feed; write https://HOST/PATH")
        return feeds
