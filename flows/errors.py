"""Errors of the orchestration edge.

FlowError
├── ConfigError         a setting, watch file or argument is wrong; names the field, the value and the fix
├── SegmenterError      the segmenter could not be loaded, or fails on every tile
├── FeedError           no event feed could be read
├── SourceOut           scenes wait for a source whose circuit is open; a later run takes them up
├── WatchPaused         the watch is paused; the message says since when, by whom and how to go on
└── ServiceError        a local service did not start or stop
    └── PortLost        another program listens at the port that a service was to have
"""

from __future__ import annotations

from segwatch.geo.text.redaction import redact


class FlowError(Exception):
    """Base of everything the flows package raises on purpose; its words quote addresses, without their secrets."""

    def __str__(self) -> str:
        return redact(super().__str__())


class ConfigError(FlowError):
    """A setting, watch file or argument is wrong."""


class SegmenterError(FlowError):
    """The segmenter named in the settings could not be loaded, or fails on every tile."""


class FeedError(FlowError):
    """No event feed could be read."""


class SourceOut(FlowError):
    """Scenes wait for a source whose circuit is open; a later run takes them up."""


class WatchPaused(FlowError):
    """The watch is paused: it is not searched or predicted until somebody resumes it."""


class ServiceError(FlowError):
    """A local service did not start or stop."""


class PortLost(ServiceError):
    """Another program listens at the port that a service was to have."""
