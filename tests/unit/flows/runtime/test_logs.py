"""What catalogs and strangers write reaches logs, terminals and messages as words and as nothing else."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest

from segwatch.db import messages
from segwatch.flows.alerting.channels import render_message
from segwatch.flows.config.watchfile import load
from segwatch.flows.errors import ConfigError
from segwatch.flows.runtime import logs
from segwatch.flows.runtime.terminal import SafeConsole
from segwatch.geo.errors import ProfileError
from segwatch.geo.sources import profiles

SECRET = "s3cr3tValue0123456789"
HOSTILE = f"x\nERROR root forged\x1b[2J\u202e https://me:{SECRET}@h.example/a?token={SECRET}"


@pytest.fixture
def written() -> Any:
    """What a handler of the standard library writes, at level DEBUG."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("segwatch.of_this_test")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger, stream
    logger.removeHandler(handler)


def test_a_record_is_one_line_without_secrets(written: Any) -> None:
    logs.clean_log_records()
    logger, stream = written
    logger.debug("item %s", HOSTILE)
    logger.info(HOSTILE.replace("%", "%%"))
    logger.warning("%(a)s", {"a": HOSTILE})
    logger.warning("y" * 10_000_000)
    said = stream.getvalue()
    assert len(said.splitlines()) == 4
    assert len(said) < 20_000
    assert SECRET not in said
    assert "\x1b" not in said
    assert "\\nERROR root forged" in said


def test_no_line_of_a_traceback_passes_for_a_record(written: Any) -> None:
    logger, stream = written
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logger.exception("scene %s failed", "s")
    first, *rest = stream.getvalue().splitlines()
    assert first == "ERROR segwatch.of_this_test scene s failed"
    assert all(one.startswith((" ", "Traceback")) for one in rest)
    assert SECRET not in stream.getvalue()


def test_nothing_that_a_terminal_shows_acts() -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, soft_wrap=True)
    console.print(HOSTILE, markup=False)
    console.print(HOSTILE)
    said = stream.getvalue()
    assert "\x1b" not in said
    assert SECRET not in said
    assert [one for one in said.splitlines() if one.startswith("ERROR")] == []


def _message(**more: Any) -> dict[str, Any]:
    data = {
        "watch": "w", "target": "water", "kind": "grew", "before_m2": 1.0, "after_m2": 2.0, "score": 0.5,
        "valid_at": "2024-01-01T00:00:00+00:00", "bbox": [0, 0, 1, 1], "rule": "r", "instruction": "i", "model": "m",
        "item_hrefs": ["https://a.example/a"], "track_id": "t", "alert_id": "a",
    }  # fmt: skip
    return {"type": messages.RETRACTED, "data": data | more}


def test_a_message_mentions_nobody_and_links_nowhere_else() -> None:
    hostile = "<!channel> @everyone [x](https://evil.example)\r\nBcc: eve@evil.example\n`code`"
    title, body = render_message(
        _message(target=hostile, note=hostile, item_hrefs=["https://a.example/@a?x=<!here>|y"])
    )
    for text in (title, body):
        assert "<!" not in text
        assert "@everyone" not in text
        assert "](" not in text
    assert len(title.splitlines()) == 1
    assert len(body.splitlines()) == 7
    assert "https://a.example/%40a?x=%3C!here%3E%7Cy" in body


WATCH = """
version: 1
name: w
instruction: segment the water
area: {bbox: [0, 0, 0.1, 0.1]}
source: {profile: rgb-cog, catalog: "https://me:%s@stac.example/v1"}
start: 2024-01-01
"""


def test_user_information_is_refused_where_a_watch_is_read(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(WATCH % SECRET, encoding="utf-8")
    with pytest.raises(ConfigError, match="SEGWATCH_CREDENTIALS") as caught:
        load(file)
    assert SECRET not in str(caught.value)
    assert "source.catalog" in str(caught.value)


def test_user_information_is_refused_where_a_profile_is_read(tmp_path: Path) -> None:
    shipped = Path(profiles.__file__).parent / "profiles_data" / "rgb-cog.toml"
    file = tmp_path / "mine.toml"
    file.write_text(f'catalog = "https://me:{SECRET}@stac.example"\n' + shipped.read_text(), encoding="utf-8")
    with pytest.raises(ProfileError, match="SEGWATCH_CREDENTIALS") as caught:
        profiles.load(str(file))
    assert SECRET not in str(caught.value)
