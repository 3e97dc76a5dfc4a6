"""Settings of briefings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from segwatch.flows.config.settings.fields import Settings


class ReportSettings(Settings):
    """What briefings say of their author, and what exposure is counted with."""

    report_contact: str = Field(
        "",
        max_length=300,
        description="whom readers of a briefing may ask, printed on its first page; unset = it says that none is named",
        examples=["Civil protection, situation room, +386 1 555 0100, room@example.org"],
    )
    report_language: Literal["en", "de", "fr", "es"] = Field(
        "en", description="language of briefings: en, de, fr or es", examples=["de"]
    )
    report_population: Path | None = Field(
        None,
        description="raster of people per pixel, such as WorldPop, that every briefing counts people with",
        examples=["/srv/exposure/worldpop.tif"],
    )
    report_buildings: Path | None = Field(
        None,
        description="vector file of buildings that every briefing counts; any format that GDAL reads",
        examples=["/srv/exposure/buildings.gpkg"],
    )
    report_roads: Path | None = Field(
        None,
        description="vector file of roads that every briefing measures; any format that GDAL reads",
        examples=["/srv/exposure/roads.gpkg"],
    )
