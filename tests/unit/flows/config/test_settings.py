"""Settings at the border: what is wrong is named with its value and an example, secrets without their value."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import ConfigError

SECRET = "whsec_c2Vnd2F0Y2ggc2Vnd2F0Y2ggc2Vnd2F0Y2g="


def refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    """The message and the traceback that a wrong value leads to."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value", "example"),
    [
        ("SEGWATCH_FEEDS", "https://feed.example/rss", '["https://'),
        ("SEGWATCH_FEEDS", '"https://feed.example/rss"', '["https://'),
        ("SEGWATCH_FEEDS", "", '["https://'),
        ("SEGWATCH_LEASE_SECONDS", "inf", "write 120, say"),
        ("SEGWATCH_LEASE_SECONDS", "1e9", "write 120, say"),
        ("SEGWATCH_LEASE_SECONDS", "0.01", "write 120, say"),
        ("SEGWATCH_LINGER_SECONDS", "inf", "write 5, say"),
        ("SEGWATCH_DELIVERY_HOURS", "nan", "write 72, say"),
        ("SEGWATCH_DELIVERY_RETRY_SECONDS", "1e300", "write 5, say"),
        ("SEGWATCH_DELIVERY_TIMEOUT_SECONDS", "inf", "write 10, say"),
        ("SEGWATCH_FEED_TIMEOUT_SECONDS", "-inf", "write 30, say"),
        ("SEGWATCH_SOURCE_TIMEOUT_SECONDS", "forever", "write 60, say"),
        ("SEGWATCH_MEMORY_GIB", "inf", "write 40, say"),
        ("SEGWATCH_MEMORY_GIB", "80GB", "write 40, say"),
        ("SEGWATCH_MAX_ATTEMPTS", "", "write 3, say"),
        ("SEGWATCH_HOME", "~nobody-of-this-name/state", "write /var/lib/segwatch, say"),
        ("SEGWATCH_PLAYBOOKS", "~nobody-of-this-name/books", "write /etc/segwatch/playbooks, say"),
        ("SEGWATCH_EVIDENCE", "~nobody-of-this-name/pictures", "write s3://BUCKET/evidence, say"),
    ],
)
def test_a_wrong_value_is_named_with_an_example(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, example: str
) -> None:
    said = refused(monkeypatch, name, value)
    assert value in said
    assert example in said


@pytest.mark.parametrize(
    ("name", "value", "example"),
    [
        ("SEGWATCH_CREDENTIALS", "{hls-s30: {token: hunter2}}", '{"hls-s30": {"token"'),
        ("SEGWATCH_CREDENTIALS", '["hunter2"]', '{"hls-s30": {"token"'),
        ("SEGWATCH_CREDENTIALS", '{"hls-s30": "hunter2"}', '{"hls-s30": {"token"'),
        ("SEGWATCH_SERVICES", "duty=mailtos://u:hunter2@example.org", '{"duty": "mailtos://'),
        ("SEGWATCH_SERVICES", '{"Duty Officer": "mailtos://u:hunter2@example.org"}', '{"duty": "mailtos://'),
        ("SEGWATCH_WEBHOOK_SECRET", "hunter2", "whsec_ and at least 24"),
        ("SEGWATCH_WEBHOOK_SECRET", "whsec_hunter2!", "whsec_ and at least 24"),
        ("SEGWATCH_WEBHOOK_SECRET", "whsec_hunter2/c2hvcnQ=", "whsec_ and at least 24"),
        ("SEGWATCH_REVIEW_TOKEN", "hunter2", "at least 16"),
    ],
)
def test_a_wrong_secret_is_named_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, example: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value).startswith(name)
    assert example in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_an_empty_secret_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEGWATCH_WEBHOOK_SECRET", "SEGWATCH_EVENT_SECRET"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.webhook_secret is None
    assert settings.event_secret is None
    assert load_settings(webhook_secret=SecretStr("")).webhook_secret is None


def test_right_values_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {
        "FEEDS": '["https://feed.example/rss"]',
        "CREDENTIALS": '{"hls-s30": {"token": "t"}}',
        "SERVICES": '{"duty": "json://example.org"}',
        "WEBHOOK_SECRET": SECRET,
        "HOME": "~/state",
        "PLAYBOOKS": "~",
        "EVIDENCE": "~/pictures",
        "LEASE_SECONDS": "2",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"SEGWATCH_{name}", value)
    settings = load_settings()
    assert settings.feeds == ("https://feed.example/rss",)
    assert settings.credentials_for("hls-s30") == {"token": "t"}
    assert settings.services["duty"].get_secret_value() == "json://example.org"
    assert settings.webhook_secret is not None
    assert settings.home == tmp_path / "state"
    assert settings.playbooks == tmp_path
    assert settings.evidence == str(tmp_path / "pictures")
    assert settings.lease_seconds == 2


@pytest.mark.parametrize("place", ["none", "s3://bucket/~/pictures", "/srv/pictures"])
def test_other_places_of_pictures_stay_as_they_are(place: str) -> None:
    assert load_settings(evidence=place).evidence == place


def test_every_number_has_an_upper_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from segwatch.flows.config.settings import FlowSettings

    for name, field in FlowSettings.model_fields.items():
        if field.annotation is float:
            refused(monkeypatch, f"SEGWATCH_{name.upper()}", "inf")
            monkeypatch.delenv(f"SEGWATCH_{name.upper()}")
