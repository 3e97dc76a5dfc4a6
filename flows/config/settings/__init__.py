"""Settings, read from ``SEGWATCH_*`` environment variables on demand, never at import.

One class per concern, each in its module; :class:`FlowSettings` has them all. Functions take the class that they need.
"""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError

from segwatch.flows.config.settings.alerts import AlertSettings
from segwatch.flows.config.settings.events import EventSettings
from segwatch.flows.config.settings.fields import PREFIX
from segwatch.flows.config.settings.imagery import ImagerySettings, QuicklookSettings
from segwatch.flows.config.settings.model import ModelSettings
from segwatch.flows.config.settings.reports import ReportSettings
from segwatch.flows.config.settings.retention import RetentionSettings
from segwatch.flows.config.settings.telemetry import TelemetrySettings
from segwatch.flows.config.settings.web import WebSettings
from segwatch.flows.config.settings.workers import WorkerSettings
from segwatch.flows.errors import ConfigError
from segwatch.geo.sources.http import ip_addresses
from segwatch.geo.sources.local import registry
from segwatch.geo.text.spelling import describe_errors

_log = logging.getLogger(__name__)


class FlowSettings(
    QuicklookSettings,
    ModelSettings,
    WorkerSettings,
    ImagerySettings,
    AlertSettings,
    EventSettings,
    ReportSettings,
    RetentionSettings,
    WebSettings,
    TelemetrySettings,
):
    """All settings, for flows and commands, which hand them on."""


_SECRETS = frozenset(
    name for name, field in FlowSettings.model_fields.items() if "SecretStr" in str(field.annotation)
)
#: Valid values, shown in messages about invalid ones.
_EXAMPLES = {
    name: field.examples[0] if field.examples else f"{field.default:g}"
    for name, field in FlowSettings.model_fields.items()
    if field.examples or (isinstance(field.default, int | float) and not isinstance(field.default, bool))
}
#: Environment variables whose values are secret.
SECRET_VARIABLES = frozenset(f"{PREFIX}{name.upper()}" for name in _SECRETS)


def load_settings(**given: Any) -> FlowSettings:
    """Read all settings from the environment; keyword arguments take precedence.

    Raises
    ------
    ConfigError
        Names each invalid variable, its value (not of secrets) and a valid example.
    """
    from segwatch.flows.config import variables

    variables.warn_once(_log.warning)
    try:
        settings = FlowSettings(**given)
        # HTTP clients read the permitted addresses from there
        ip_addresses.allow_addresses(settings.permitted_addresses)
        # and readers of local files where the home's sources are registered
        registry.use_home(settings.home)
        return settings
    except ValidationError as error:
        raise ConfigError(
            describe_errors(error, prefix=PREFIX, hidden=_SECRETS, examples=_EXAMPLES)
        ) from error
