"""Types of settings that several classes share, and the base of these classes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "SEGWATCH_"
HOUR_SECONDS, DAY_SECONDS, YEAR_HOURS = 3600.0, 86_400.0, 8760.0
_MIN_KEY_BYTES = 24


class Settings(BaseSettings):
    """Base of all settings: read from ``SEGWATCH_*`` environment variables, never shown in errors."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError("is not a usable folder: the home folder behind ~ is unknown") from error


def _expand_location(location: str) -> str:
    """Expand ``~`` in paths; leave fsspec URLs as they are."""
    return str(_expand_home(Path(location))) if location.startswith("~") else location


def _read_json(given: object, kind: type, name: str) -> object:
    if not isinstance(given, str):
        return given
    try:
        read = json.loads(given)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, kind):
        raise ValueError(f"is not a JSON {name}")
    return read


def parse_json_object(given: object) -> object:
    """Parse the text of an environment variable that must be a JSON object; return other values unchanged."""
    return _read_json(given, dict, "object")


def parse_json_list(given: object) -> object:
    """Parse the text of an environment variable that must be a JSON list; return other values unchanged."""
    return _read_json(given, list, "list")


def _check_signing_secret(secret: SecretStr | None) -> SecretStr | None:
    if secret is None or not secret.get_secret_value():
        return None  # templates leave unused variables empty
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if len(key) < _MIN_KEY_BYTES:
        raise ValueError("is not a valid secret; write whsec_ and at least 24 random bytes in base64")
    return secret


Folder = Annotated[Path, AfterValidator(_expand_home)]
#: Path of a folder, or an fsspec URL.
Location = Annotated[str, AfterValidator(_expand_location)]
JsonList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_json_list)]
#: Standard Webhooks secret; an empty one counts as unset.
SigningSecret = Annotated[SecretStr | None, AfterValidator(_check_signing_secret)]
