"""Negative coordinates, bounding boxes and times, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from segwatch.flows.cli.parsing import Box, Command, From, parse_last_moment, parse_moment

app = typer.Typer()


@app.command(cls=Command)
def place(
    lon: Annotated[float | None, typer.Argument()] = None,
    lat: Annotated[float | None, typer.Argument()] = None,
    bbox: Box = None,
    point: Annotated[tuple[float, float] | None, typer.Option("--point")] = None,
    since: From = None,
    loud: Annotated[bool, typer.Option("--loud", "-l")] = False,
) -> None:
    typer.echo(f"{lon} {lat} {bbox} {point} {since} {loud}")


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def refused(*arguments: str) -> str:
    done: Result = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 2
    return " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("-70.1", "-33.4"),
        ("--", "-70.1", "-33.4"),
        ("-70.1", "-33.4", "-l"),
        ("-l", "-70.1", "-33.4"),
    ],
)
def test_negative_numbers_are_values(arguments: tuple[str, ...]) -> None:
    assert said(*arguments).startswith("-70.1 -33.4 None")
    assert said(*arguments).endswith(str("-l" in arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--bbox", "-70.1,-33.5,-70.0,-33.4"),
        ("--bbox=-70.1,-33.5,-70.0,-33.4",),
        ("--bbox", "-70.1", "-33.5", "-70.0", "-33.4"),
        ("--bbox=-70.1", "-33.5", "-70.0", "-33.4"),
        ("--bbox", "-70.1,-33.5", "-70.0,-33.4", "-l"),
    ],
)
def test_a_box_is_one_word_or_four(arguments: tuple[str, ...]) -> None:
    assert "(-70.1, -33.5, -70.0, -33.4)" in said(*arguments)
    assert said("1.5", "2.5", *arguments).startswith("1.5 2.5 (")
    assert said(*arguments, "1.5", "2.5").startswith("1.5 2.5 (")


def test_a_point_is_two_numbers() -> None:
    assert "(-33.4, -70.6)" in said("--point", "-33.4", "-70.6")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bbox", "1,2,3"), "is not WEST,SOUTH,EAST,NORTH in degrees, such as"),
        (("--bbox", "1,11,2,10"), "is not west, south, east, north"),
        (("--bbox", "-33.5,-170,-33.4,-169"), "it looks as if latitudes came first"),
        (("--piont", "-33.4", "-70.6"), "No such option: --piont"),
        (("-70.1", "-x"), "No such option"),
        (("--from", "2026-02-30"), "write 2026-03-01 or 2026-03-01T12:00Z (UTC unless an offset is given"),
        (("--from", "yesterday"), "write 2026-03-01 or 2026-03-01T12:00Z"),
    ],
)
def test_mistakes_say_the_form(arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(*arguments)


def test_times_without_a_zone_are_utc() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for text in ("2026-03-01T12:00", "2026-03-01 12:00", "2026-03-01T12:00Z", "2026-03-01T14:00+02:00"):
        assert parse_moment(text) == noon
    assert parse_moment("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    assert parse_last_moment("2026-03-01") == datetime(2026, 3, 1, 23, 59, 59, 999999, UTC)
    assert parse_last_moment("20260301") == parse_last_moment("2026-03-01")
    assert parse_last_moment("2026-03-01T12:00") == noon
