"""Key and time of each view of schema ``watch``, for programs that ask for them: QGIS, OGC API, copies into tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ViewKey:
    """What identifies a row of a view, and when it holds."""

    column: str
    """Unique, never null, and the same as long as the row is: uuid or text."""
    begin: str | None = None
    """Column of the first moment (``timestamptz``, inclusive); None = the view has no time."""
    end: str | None = None
    """Column of the moment after the last one (exclusive); null in it means that there is no end."""


_HELD = ("valid_from", "valid_to")
VIEW_KEYS: Mapping[str, ViewKey] = MappingProxyType(
    {
        "accuracy": ViewKey("accuracy_id"),
        "admin_areas": ViewKey("admin_area_id"),
        "alert_corrections": ViewKey("correction_id"),
        "alerts": ViewKey("alert_id", *_HELD),
        "area_by_week": ViewKey("area_by_week_id", *_HELD),
        "assessments": ViewKey("stratum_id"),
        "calibrations": ViewKey("calibration_id"),
        "changes": ViewKey("change_id", *_HELD),
        "coverage": ViewKey("observation_id", *_HELD),
        "detections": ViewKey("detection_id", *_HELD),
        "events": ViewKey("event_id"),
        "evidence": ViewKey("observation_id"),
        "imagery": ViewKey("imagery_id", *_HELD),
        "object_history": ViewKey("state_id", *_HELD),
        "objects_now": ViewKey("track_id", *_HELD),
        "presence": ViewKey("presence_id"),
        "rejected_items": ViewKey("rejection_id", *_HELD),
        "reviews": ViewKey("review_id", *_HELD),
        "shadow_comparisons": ViewKey("comparison_id"),
        "shadow_differences": ViewKey("difference_id", *_HELD),
        "upgrades": ViewKey("upgrade_id"),
        "watches": ViewKey("watch", "starts_at", "ends_at"),
    }
)
